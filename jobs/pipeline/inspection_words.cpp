// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/inspection.hpp"

#include "base/units.hpp"

#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

using inspection::Finding;
using inspection::Kind;

/// Where a number came from: a key of the job or a dataset.
std::string place(const settings::Job& job, const Scan& scan, const std::string& what) {
    const auto& origin = scan.metadata().origin;
    const auto found = origin.find(what);
    if (found != origin.end() && found->second.find("set by the caller") == std::string::npos)
        return found->second;
    std::string key = "geometry." + what;
    if (what == "wavelength" && !std::isnan(job.geometry.energy))
        key = "geometry.energy";
    else if (what == "rotation" || what == "translation")
        key = fmt::format("input.{}_range", what);
    else if (what == "two_theta")
        key = "input.radial";
    return fmt::format("{}: {}", job.source.string(), key);
}

bool near(double a, double b) {
    return std::abs(a / b - 1) < 1e-6;
}

bool wavelength_stated(const settings::Job& job, const Scan& scan) {
    if (!std::isnan(job.geometry.energy))
        return false;
    return !std::isnan(job.geometry.wavelength) ||
           place(job, scan, "wavelength").find("wavelength") != std::string::npos;
}

std::string energy_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    const bool wavelength = wavelength_stated(job, scan);
    std::string guess = "correct it";
    if (near(f.factor, 1e-3))
        guess = wavelength ? "correct it" : "is it in eV? State it in keV, or the unit in the file";
    else if (near(f.factor, 1e3))
        guess = wavelength ? "correct it" : "is it in MeV? State it in keV";
    else if (wavelength && near(f.factor, 0.1))
        guess = "is it in nm? State it in angstrom";
    else if (wavelength && near(f.factor, 100))
        guess = "is it in pm? State it in angstrom";
    else if (wavelength && near(f.factor, 1e-10))
        guess = "is it in m? State it in angstrom";
    return fmt::format("{}: a photon energy of {:.6g} keV (wavelength {:.6g} angstrom) is outside "
                       "5 to 300 keV; {}",
                       place(job, scan, "wavelength"), f.value, scan.wavelength(), guess);
}

/// The question about a length [mm] whose number would make sense when multiplied by the factor.
std::string length_guess(double factor) {
    if (near(factor, 1e3))
        return "; is the number in m? State the unit in the file or the length in mm";
    if (near(factor, 10))
        return "; is the number in cm? State the length in mm";
    if (near(factor, 1e-3))
        return "; is the number in um? State the unit in the file or the length in mm";
    if (near(factor, 1e-6))
        return "; is the number in nm? State the unit in the file or the length in mm";
    return "; correct it";
}

std::string length_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    switch (f.kind) {
    case Kind::distance:
        return fmt::format("{}: {:.6g} mm from the rotation axis to the detector is not what an "
                           "experiment has (30 mm to 30 m; from 1e7 mm on: no parallax){}",
                           place(job, scan, "distance"), f.value, length_guess(f.factor));
    case Kind::distance_body:
        return fmt::format("{}: the detector, {:.6g} mm from the rotation axis, is nearer than the "
                           "{:.6g} mm that the translations cover{}",
                           place(job, scan, "distance"), f.value, f.limit, length_guess(f.factor));
    case Kind::distance_lines:
        return fmt::format(
            "{}: with the detector {:.6g} mm from the rotation axis parallax would make lines "
            "wider: they have {:.2g} of the width that the body's extent makes (the strongest, at "
            "2theta = {:.3f} deg, {:.3g} deg){}",
            place(job, scan, "distance"), scan.geometry().distance, f.value, f.position, f.limit,
            length_guess(f.factor));
    case Kind::translation_range: {
        const auto where = place(job, scan, "translation");
        const bool in_file = where.find("input.translation_range") == std::string::npos;
        return fmt::format("{}: the translations cover {:.4g} mm, unusual for a scan{}{}", where,
                           f.value, length_guess(f.factor),
                           in_file && !std::isnan(f.factor) ? " (input.translation_unit)" : "");
    }
    default:
        return fmt::format("{}: the beam is {:.4g} translation steps wide (step {:.4g} mm); check "
                           "the units of beam and translations, or set geometry.beam_width",
                           scan.metadata().beam_extent && std::isnan(job.geometry.beam_width)
                               ? place(job, scan, "beam_extent")
                               : job.source.string() + ": geometry.beam_width",
                           f.value, std::abs(scan.geometry().step()));
    }
}

std::string rotation_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    const auto where = place(job, scan, "rotation");
    const bool in_job = where.find("input.rotation_range") != std::string::npos;
    switch (f.kind) {
    case Kind::rotation_range: {
        std::string guess = "check the angles and their unit";
        if (near(f.factor, degrees(1)))
            guess = in_job ? "are the numbers radians? State degrees"
                           : "are the numbers radians? Set input.rotation_unit = \"rad\"";
        else if (near(f.factor, 360.0))
            guess = "are the numbers turns? State degrees";
        else if (near(f.factor, 1e-3))
            guess = "are the numbers thousandths of a degree? State degrees";
        return fmt::format("{}: the rotations cover {:.4g} deg; a reconstruction needs half a "
                           "turn; {}",
                           where, f.value, guess);
    }
    case Kind::rotation_gap:
        return fmt::format("{}: no projection in a range of {:.4g} deg (modulo 180 deg); maps will "
                           "have artefacts along the missing directions; check the angles",
                           where, f.value);
    default:
        return fmt::format("{}: rotation {} at {:.6g} deg is {:.2g} steps from the one before: "
                           "taken twice? Remove one of them (xrdct condition)",
                           where, f.index, f.position, f.value);
    }
}

std::string half_turn_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    if (f.kind == Kind::axes_swapped)
        return fmt::format(
            "{}: rotations and translations seem to be exchanged: the intensity varies by {:.0f} % "
            "along what should be the rotations, with air at both ends, and by {:.0f} % along what "
            "should be the translations; correct input.axes or the names of the axes",
            place(job, scan, "intensity"), 100 * f.value, 100 * f.limit);
    if (f.kind == Kind::zigzag)
        return fmt::format("{}: neighbouring projections mirror each other: every second one was "
                           "recorded with the translations reversed; xrdct condition turns them",
                           place(job, scan, "intensity"));
    if (f.kind == Kind::turn_mistaken)
        return fmt::format(
            "{}: projections 180 deg apart are the same instead of mirrored; do the angles stand "
            "for twice as much (a full turn taken for half a turn)?",
            place(job, scan, "rotation"));
    return fmt::format(
        "{}: projections 180 deg apart do not mirror each other (misfit {:.2f} of that of "
        "unrelated ones); check angles, their unit and order, and whether the sample moved",
        place(job, scan, "rotation"), f.value);
}

std::string order_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    const auto where = place(job, scan, "rotation");
    if (f.kind == Kind::order)
        return fmt::format("{}: neighbouring projections are no more alike than any two (likeness "
                           "{:.2f} of the others'): angles and projections are in another order; "
                           "check the order of the frames, or of the angles",
                           where, f.value);
    if (f.kind == Kind::misplaced)
        return fmt::format("{}: {:.0f} projections are unlike their neighbours but like others "
                           "elsewhere, the first one number {} (likeness {:.2f}, usual {:.2f}), "
                           "which fits beside {:.4g} deg; check the order of the frames",
                           where, f.factor, f.index, f.value, f.limit, f.position);
    std::string guess = "check angles, their unit and order, and whether the sample moved";
    if (near(f.factor, 0.9))
        guess = "with angles in gradians they do; state degrees";
    else if (near(f.factor, 0.5))
        guess = "with half the angles they do: is a half turn taken for a full one?";
    else if (near(f.factor, 2))
        guess = "with twice the angles they do: is a full turn taken for half of one?";
    return fmt::format("{}: projections 180 deg apart do not mirror each other (likeness {:.2f} of "
                       "that of neighbours); {}",
                       where, f.value, guess);
}

std::string steadiness_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    if (f.kind == Kind::drift)
        return fmt::format("{}: the projections at {:.4g} deg have {:.2f} times the intensity of "
                           "those half a turn apart, at {:.4g} deg, which should be the same: the "
                           "beam drifts or jumps; name a monitor (input.monitor) or normalise with "
                           "xrdct condition",
                           place(job, scan, "intensity"), f.position, f.value, f.limit);
    return fmt::format("{}: about projection {} (at {:.4g} deg) the centre of mass jumps "
                       "by {:.3g} mm: the sample or the axis has moved, or projections are missing "
                       "there; reconstruct the parts by themselves",
                       place(job, scan, "intensity"), f.index, f.position,
                       f.value * std::abs(scan.geometry().step()));
}

std::string contents_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    const auto where = place(job, scan, "intensity");
    const auto what = [&](double zeros) {
        return zeros > 0 ? "zero or missing throughout" : "NaN throughout";
    };
    switch (f.kind) {
    case Kind::no_signal:
        return std::isnan(f.value)
                   ? fmt::format("{}: no intensity is finite; is it the right dataset?", where)
                   : fmt::format("{}: all intensities are {:.6g}, zero or constant data have no "
                                 "signal; is it the right dataset, and was it written?",
                                 where, f.value);
    case Kind::saturated:
        return fmt::format("{}: {:.0f} intensities have the same largest value {:.6g} and few lie "
                           "just below it: they seem to be saturated or clipped, and strong lines "
                           "too weak; mask them or measure with less intensity",
                           where, f.value, f.position);
    case Kind::negative:
        return fmt::format("{}: the mean pattern is negative in {:.0f} % of the channels, by much "
                           "more than noise; is too much background or dark subtracted?",
                           where, 100 * f.value);
    case Kind::empty_projections:
        return fmt::format(
            "{}: {:.0f} % of the projections are {}, the first at {:.4g} deg: frames "
            "that were not written or lost? Leave them out or mask them (xrdct "
            "condition); missing directions make artefacts",
            where, 100 * f.value, what(f.limit), f.position);
    case Kind::empty_rays:
        return fmt::format(
            "{}: {:.0f} translations inside the scan, the first number {}, are {} in "
            "all projections: they make rings; check the data",
            where, f.value, f.index, what(f.limit));
    case Kind::empty_channels:
        return fmt::format("{}: {:.0f} % of the channels, the first at 2theta = {:.4g} deg, are "
                           "zero in all patterns, as where no detector is; mask them or limit the "
                           "range (channels.two_theta_min, channels.two_theta_max)",
                           where, 100 * f.value, f.position);
    default: {
        std::string guess = "check the dataset";
        if (near(f.factor, 0.01))
            guess = "is it in percent? Divide it by 100";
        else if (f.factor == 0)
            guess = "there is more behind the sample than beside it: is it -log of the "
                    "transmission (absorbance)? Store exp(-x)";
        else if (f.factor == -1)
            guess = "there is more behind the sample than beside it: is it 1/transmission? Store "
                    "the inverse";
        return fmt::format("{}: a transmission is 1 beside the sample and between 0 and 1 behind "
                           "it; this one has values from {:.4g} to {:.4g}, and {:.4g} at the ends; "
                           "{}",
                           place(job, scan, "transmission"), f.value, f.limit, f.position, guess);
    }
    }
}

struct RadialWords {
    std::string_view what, remedy;
};

RadialWords radial_words(inspection::RadialMeaning meaning) {
    using inspection::RadialMeaning;
    switch (meaning) {
    case RadialMeaning::q_per_nm:
        return {"the numbers of the radial axis are Q in 1/nm", "set input.radial_unit = \"1/nm\""};
    case RadialMeaning::angle_as_q_per_angstrom:
    case RadialMeaning::angle_as_q_per_nm:
        return {"the numbers of the radial axis are 2theta in deg",
                "set input.radial_unit = \"deg\", or correct the unit in the file"};
    case RadialMeaning::theta:
        return {"the numbers of the radial axis are theta, not 2theta", "store twice the numbers"};
    case RadialMeaning::reversed:
        return {"the radial axis runs the other way",
                "reverse it, or the channels of the intensities"};
    default:
        return {"the numbers of the radial axis are Q in 1/angstrom",
                "set input.radial_unit = \"1/angstrom\""};
    }
}

/// All lines of the phases with known cells lie elsewhere by the same.
std::string stretch_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    const std::string alone =
        f.index > 1 ? "" : "; only one phase tells, so that its cell may be wrong instead";
    if (std::isnan(f.factor))
        return fmt::format("{}: all lines of the phases with known cells are shifted by {:.4f} deg "
                           "in 2theta; check the calibration of the integration (beam centre, "
                           "zero), or subtract it{}",
                           place(job, scan, "two_theta"), f.position, alone);
    const double wavelength = scan.wavelength() * f.factor;
    return fmt::format("{}: all lines of the phases with known cells lie at {:.4f} times their "
                       "angles; a wavelength of {:.6g} angstrom ({:.5g} keV, factor {:.4f}) "
                       "explains them all, or a detector distance in the integration that is wrong "
                       "by this factor{}",
                       place(job, scan, "wavelength"), f.factor, wavelength,
                       energy_from_wavelength(wavelength), f.factor, alone);
}

std::string lines_text(const Finding& f, const settings::Job& job, const Scan& scan) {
    const auto where = job.input.file.string();
    if (f.kind == Kind::strange_line && std::isnan(f.limit))
        return fmt::format(
            "{}: the mean pattern has a line at 2theta = {:.3f} deg, {:.2g} % of the highest, that "
            "no phase and no peak of the job explains; name its phase in a [[phase]], give it a "
            "[[peak]] or exclude it",
            where, f.position, 100 * f.value);
    if (f.kind == Kind::strange_line)
        return fmt::format(
            "{}: the mean pattern has a line at 2theta = {:.3f} deg, {:.2g} % of the highest, of "
            "which the phases there can explain {:.2g} % by their other lines; does the job lack a "
            "phase, or is one strongly textured?",
            where, f.position, 100 * f.value, 100 * f.limit);
    if (f.kind == Kind::phase_absent)
        return fmt::format(
            "{}: phase '{}': none of its strongest lines is seen in the mean pattern (less than "
            "{:.2g} % of the highest line); is it in the sample, and is its CIF the right one?",
            job.source.string(), job.phases[f.index].name, 100 * f.value);
    if (f.kind == Kind::radial_axis) {
        const auto place_ = place(job, scan, "two_theta");
        const auto [what, remedy] = radial_words(f.meaning);
        return fmt::format("{}: the phases explain {:.0f} % of the lines, but {:.0f} % if "
                           "{}; {}",
                           place_, 100 * f.value, 100 * f.limit, what, remedy);
    }
    if (f.kind == Kind::stretch)
        return stretch_text(f, job, scan);
    if (std::isnan(f.factor))
        return fmt::format(
            "{}: the phases of the job explain only {:.0f} % of the strong lines of the mean "
            "pattern; check the phases, their cells, the wavelength and the radial axis",
            where, 100 * f.value);
    const double wavelength = scan.wavelength() * f.factor;
    return fmt::format(
        "{}: with {:.6g} angstrom the phases explain {:.0f} % of the strong lines of the mean "
        "pattern, with {:.5g} angstrom ({:.5g} keV, factor {:.4f}) {:.0f} %; check the wavelength, "
        "the distance that the integration used, and whether the job lacks a phase",
        place(job, scan, "wavelength"), scan.wavelength(), 100 * f.value, wavelength,
        energy_from_wavelength(wavelength), f.factor, 100 * f.limit);
}

std::string outlier_text(const Finding& f, const settings::Job& job) {
    const auto where = job.input.file.string();
    if (f.kind == Kind::channel)
        return fmt::format("{}: channel {} at 2theta = {:.4f} deg has {:.3g} times the intensity "
                           "of its neighbours; mask it (xrdct condition, or rietveld.excluded)",
                           where, f.index, f.position, f.value);
    return fmt::format("{}: the projection {} at {:.4f} deg has {:.3g} times the intensity of its "
                       "neighbours; xrdct condition normalises or removes it",
                       where, f.index, f.position, f.value);
}

} // namespace

std::string_view name_of(Kind kind) {
    static constexpr std::pair<Kind, std::string_view> names[] = {
        {Kind::energy, "energy"},
        {Kind::distance, "distance"},
        {Kind::distance_body, "distance_body"},
        {Kind::distance_lines, "distance_lines"},
        {Kind::translation_range, "translation_range"},
        {Kind::beam_width, "beam_width"},
        {Kind::two_theta_range, "two_theta_range"},
        {Kind::rotation_range, "rotation_range"},
        {Kind::rotation_gap, "rotation_gap"},
        {Kind::rotation_spacing, "rotation_spacing"},
        {Kind::axes_swapped, "axes_swapped"},
        {Kind::not_mirrored, "not_mirrored"},
        {Kind::turn_mistaken, "turn_mistaken"},
        {Kind::zigzag, "zigzag"},
        {Kind::order, "order"},
        {Kind::misplaced, "misplaced"},
        {Kind::angle_scale, "angle_scale"},
        {Kind::drift, "drift"},
        {Kind::moved, "moved"},
        {Kind::no_signal, "no_signal"},
        {Kind::saturated, "saturated"},
        {Kind::negative, "negative"},
        {Kind::empty_projections, "empty_projections"},
        {Kind::empty_rays, "empty_rays"},
        {Kind::empty_channels, "empty_channels"},
        {Kind::transmission, "transmission"},
        {Kind::no_air, "no_air"},
        {Kind::lines_unexplained, "lines_unexplained"},
        {Kind::radial_axis, "radial_axis"},
        {Kind::stretch, "stretch"},
        {Kind::phase_absent, "phase_absent"},
        {Kind::strange_line, "strange_line"},
        {Kind::channel, "channel"},
        {Kind::projection, "projection"},
    };
    for (const auto& [known, name] : names)
        if (known == kind)
            return name;
    return "";
}

std::string describe(const Finding& f, const settings::Job& job, const Scan& scan) {
    switch (f.kind) {
    case Kind::energy:
        return energy_text(f, job, scan);
    case Kind::distance:
    case Kind::distance_body:
    case Kind::distance_lines:
    case Kind::translation_range:
    case Kind::beam_width:
        return length_text(f, job, scan);
    case Kind::two_theta_range:
        return fmt::format("{}: 2theta ends at {:.4g} deg, where no lattice spacing below {:.3g} "
                           "angstrom diffracts; {}",
                           place(job, scan, "two_theta"), f.position, f.value,
                           std::isnan(f.factor) ? "check unit and wavelength"
                                                : "are the numbers radians? Set "
                                                  "input.radial_unit = \"rad\"");
    case Kind::rotation_range:
    case Kind::rotation_gap:
    case Kind::rotation_spacing:
        return rotation_text(f, job, scan);
    case Kind::axes_swapped:
    case Kind::not_mirrored:
    case Kind::turn_mistaken:
    case Kind::zigzag:
        return half_turn_text(f, job, scan);
    case Kind::order:
    case Kind::misplaced:
    case Kind::angle_scale:
        return order_text(f, job, scan);
    case Kind::drift:
    case Kind::moved:
        return steadiness_text(f, job, scan);
    case Kind::senses:
        return fmt::format("{}: lines move by parallax as in a body that turns the other way round "
                           "({:.0f} standard deviations): geometry.rotation_sense or "
                           "geometry.translation_sense is reversed, or both the angles and the "
                           "translations of the file are; depths would have the wrong sign{}",
                           place(job, scan, "rotation"), f.value,
                           scan.metadata().has_transmission
                               ? ""
                               : " (a body that lets less than a third of the beam through may "
                                 "look like that)");
    case Kind::no_signal:
    case Kind::saturated:
    case Kind::negative:
    case Kind::empty_projections:
    case Kind::empty_rays:
    case Kind::empty_channels:
    case Kind::transmission:
        return contents_text(f, job, scan);
    case Kind::no_air:
        return fmt::format("{}: the {} translation still has {:.0f} % of the body's line "
                           "intensity: the sample reaches beyond the scan, or is off its centre; "
                           "amounts near the rim will be wrong",
                           job.input.file.string(), f.index == 0 ? "first" : "last", 100 * f.value);
    case Kind::lines_unexplained:
    case Kind::radial_axis:
    case Kind::stretch:
    case Kind::phase_absent:
    case Kind::strange_line:
        return lines_text(f, job, scan);
    default:
        return outlier_text(f, job);
    }
}

} // namespace xrdct::pipeline
