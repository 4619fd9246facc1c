// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/inspection.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "inspection/contents.hpp"
#include "inspection/half_turn.hpp"
#include "inspection/lines.hpp"
#include "inspection/magnitudes.hpp"
#include "inspection/order.hpp"
#include "inspection/outliers.hpp"
#include "inspection/projections.hpp"
#include "inspection/sample_extent.hpp"
#include "inspection/sense.hpp"
#include "inspection/steadiness.hpp"
#include "jobs/pipeline/scan_summary.hpp"
#include "jobs/pipeline/solver_options.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::pipeline {

namespace {

using inspection::Finding;
using inspection::Kind;
using inspection::Severity;

void append(std::vector<Finding>& findings, std::vector<Finding> more) {
    findings.insert(findings.end(), more.begin(), more.end());
}

std::vector<Finding> look_at_axes(const Scan& scan) {
    const auto& metadata = scan.metadata();
    const auto& geometry = scan.geometry();
    inspection::Magnitudes magnitudes;
    if (metadata.wavelength > 0)
        magnitudes.energy = energy_from_wavelength(metadata.wavelength);
    magnitudes.distance = metadata.distance;
    magnitudes.translation_step = std::abs(geometry.step());
    magnitudes.translation_range =
        magnitudes.translation_step * static_cast<double>(geometry.translation.size());
    magnitudes.beam_width = geometry.beam_width;
    if (!metadata.two_theta.empty())
        magnitudes.two_theta_max = metadata.two_theta.back();
    auto findings = inspection::check_magnitudes(magnitudes);
    append(findings, inspection::check_rotations(geometry.rotation));
    return findings;
}

bool has_error(const std::vector<Finding>& findings) {
    return std::ranges::any_of(findings,
                               [](const Finding& f) { return f.severity == Severity::error; });
}

/// 2θ [deg] up to which lines are compared: closer than 0.25 Å they are too many to tell anything.
double last_angle(const Scan& scan) {
    const double sine = scan.wavelength() / (2 * 0.25);
    const double last = scan.two_theta().back();
    return sine < 1 ? std::min(last, 2 * degrees(std::asin(sine))) : last;
}

/// What lines the job's phases and peaks have up to `last` [deg 2θ], at wavelengths down to 0.6 of
/// the one given.
inspection::Expectation expectation_of(const settings::Job& job, const Scan& scan, double last) {
    inspection::Expectation expectation;
    expectation.wavelength = scan.wavelength();
    const double nearest = expectation.wavelength / (2 * std::sin(0.5 * radians(last)));
    std::vector<std::string> notes;
    const auto model = start_model(job, expectation.wavelength, notes);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const auto& phase = model.phases[p];
        inspection::ExpectedPhase expected;
        expected.name = job.phases[p].name;
        expected.known = !cell_varies(job.phases[p]) &&
                         std::ranges::all_of(job.phases[p].start_cell,
                                             [](double value) { return std::isnan(value); });
        double strongest = 0;
        for (const auto& line :
             phase.phase.with_cell(phase.unit_cell()).reflections(0.6 * nearest)) {
            const double sine = std::min(1.0, expectation.wavelength / (2 * line.d));
            const double intensity =
                line.multiplicity * line.structure_factor_squared / (sine * sine);
            expected.spacing.push_back(line.d);
            expected.intensity.push_back(intensity);
            if (line.d >= nearest)
                strongest = std::max(strongest, intensity);
        }
        for (double& intensity : expected.intensity)
            intensity = strongest > 0 ? intensity / strongest : 1;
        expectation.phases.push_back(std::move(expected));
    }
    for (const auto& peak : job.peaks)
        expectation.peaks.push_back({peak.position, peak.fwhm + 0.05});
    const auto& geometry = scan.geometry();
    if (std::isfinite(geometry.distance))
        expectation.parallax = 0.5 * std::abs(geometry.step()) *
                               static_cast<double>(geometry.translation.size()) / geometry.distance;
    return expectation;
}

/// What the strongest lines tell, ray by ray: where the body ends, its extent against the distance,
/// and which way it turns.
std::vector<Finding> look_at_lines(const Scan& scan, const ScanSummary& summary,
                                   const std::vector<inspection::ObservedLine>& lines,
                                   const std::vector<double>& pattern) {
    const auto two_theta = scan.two_theta();
    std::vector<std::vector<double>> weights{inspection::line_weights(lines, two_theta)};
    if (std::ranges::none_of(weights.front(), [](double w) { return w > 0; }))
        return {};
    const auto& geometry = scan.geometry();
    const std::size_t n_translation = geometry.translation.size();
    const bool parallax = parallax_shows(geometry);
    if (parallax) {
        auto moments = inspection::moment_weights(lines, two_theta, pattern, geometry.distance);
        weights.push_back(std::move(moments.intensity));
        weights.push_back(std::move(moments.depth));
    }
    auto sinograms = weighted_sinograms(scan, summary.rows, weights);
    auto findings = inspection::check_ends(sinograms[0], n_translation);
    const double extent = std::abs(geometry.step()) *
                          static_cast<double>(inspection::body_extent(sinograms[0], n_translation));
    if (extent > 0 && std::isfinite(geometry.distance) && geometry.distance > 0)
        append(findings, inspection::check_distance(lines, extent, geometry.distance));
    if (parallax) {
        if (scan.metadata().has_transmission) {
            const auto transmission = scan.transmission();
            for (std::size_t ray = 0; ray < sinograms[1].size(); ++ray) {
                const auto value = transmission[summary.rows[ray / n_translation] * n_translation +
                                                ray % n_translation];
                for (const std::size_t which : {1, 2})
                    sinograms[which][ray] /= static_cast<float>(value);
            }
        }
        std::vector<double> omega;
        for (const std::size_t row : summary.rows)
            omega.push_back(geometry.omega(row));
        append(findings, inspection::check_senses(inspection::agreement_of_senses(
                             summary.rows, omega, sinograms[1], sinograms[2], n_translation,
                             geometry.step())));
    }
    return findings;
}

std::vector<Finding> look_at_pattern(const settings::Job& job, const Scan& scan,
                                     const ScanSummary& summary) {
    const auto two_theta = scan.two_theta();
    if (two_theta.size() < 20)
        return {};
    auto findings = inspection::check_channels(two_theta, summary.pattern, summary.air_pattern);
    auto pattern = summary.pattern;
    for (const auto& finding : findings)
        pattern[finding.index] = Finding::none;
    const auto lines = inspection::find_lines(two_theta, pattern, 0.02);
    append(findings, look_at_lines(scan, summary, lines, pattern));
    if (job.phases.empty() || !(scan.wavelength() > 0))
        return findings;
    const double first = two_theta.front(), last = last_angle(scan);
    const auto fitted = [&](std::vector<inspection::ObservedLine> all) {
        std::erase_if(all, [&](const inspection::ObservedLine& line) {
            return line.position >= last ||
                   std::ranges::any_of(job.rietveld.excluded, [&](const auto& region) {
                       return line.position >= region.first && line.position <= region.second;
                   });
        });
        return all;
    };
    const auto expectation = expectation_of(job, scan, last);
    const auto explained = inspection::check_lines(fitted(lines), expectation, first, last);
    const bool scale = std::ranges::any_of(explained, [](const Finding& f) {
        return f.kind == Kind::lines_unexplained || f.kind == Kind::radial_axis;
    });
    const auto whole = inspection::without_shoulders(two_theta, pattern, expectation.parallax);
    const auto stretch = inspection::check_stretch(
        fitted(inspection::find_lines(two_theta, whole, 0.01)), expectation, first, last);
    append(findings, stretch);
    // Lines that all lie elsewhere are neither strange nor missing.
    if (!stretch.empty())
        return findings;
    append(findings, explained);
    if (!scale)
        append(findings,
               inspection::check_presence(fitted(inspection::find_lines(two_theta, pattern, 0.001)),
                                          expectation, first, last));
    return findings;
}

/// Angles of the projections read, and their mean intensities, NaN where missing.
struct Projections {
    std::vector<double> angles, sums;
    bool all = false; ///< of the scan
};

Projections projections_of(const Scan& scan, const ScanSummary& summary) {
    const std::size_t n_translation = scan.geometry().translation.size();
    Projections result;
    result.all = summary.rows.size() == scan.geometry().rotation.size();
    for (std::size_t i = 0; i < summary.rows.size(); ++i) {
        result.angles.push_back(scan.geometry().rotation[summary.rows[i]]);
        result.sums.push_back(inspection::mean_value(
            std::span<const float>(summary.sinogram).subspan(i * n_translation, n_translation)));
    }
    return result;
}

/// Equally spaced projections of those read.
struct EvenRows {
    std::vector<double> rotation;
    std::vector<float> sinogram;
};

EvenRows even_rows(const Scan& scan, const ScanSummary& summary) {
    const std::size_t n_translation = scan.geometry().translation.size();
    EvenRows result;
    for (const std::size_t at : summary.even) {
        result.rotation.push_back(scan.geometry().rotation[summary.rows[at]]);
        const auto row =
            std::span<const float>(summary.sinogram).subspan(at * n_translation, n_translation);
        result.sinogram.insert(result.sinogram.end(), row.begin(), row.end());
    }
    return result;
}

/// Order and scale of the angles. What is out of order mirrors nothing either.
std::vector<Finding> look_at_angles(const Scan& scan, const ScanSummary& summary,
                                    const Projections& projections, const EvenRows& even) {
    const auto& rotation = scan.geometry().rotation;
    const std::size_t n_translation = scan.geometry().translation.size();
    const double step = rotation.size() > 1 ? std::abs(rotation.back() - rotation.front()) /
                                                  static_cast<double>(rotation.size() - 1)
                                            : 0;
    const auto half_turn = inspection::judge(
        inspection::compare_half_turn(projections.angles, summary.sinogram, n_translation, step));
    if (std::ranges::any_of(half_turn, [](const Finding& f) { return f.kind == Kind::zigzag; }))
        return half_turn;
    auto order = inspection::judge(
        inspection::compare_projections(summary.rows, summary.sinogram, n_translation));
    if (!order.empty())
        return order;
    auto places = projections.all
                      ? inspection::check_places(rotation, summary.sinogram, n_translation)
                      : std::vector<Finding>{};
    if (!places.empty()) {
        places.front().factor = static_cast<double>(places.size());
        places.resize(1);
        return places;
    }
    const auto scale = inspection::check_angle_scale(even.rotation, even.sinogram, n_translation);
    // The one that names the factor says more.
    if (!scale.empty() && (half_turn.empty() || !std::isnan(scale.front().factor)))
        return scale;
    return half_turn;
}

std::vector<Finding> look_at_sinogram(const Scan& scan, const ScanSummary& summary) {
    const std::size_t n_translation = scan.geometry().translation.size();
    const auto projections = projections_of(scan, summary);
    auto findings = inspection::check_values(summary.counts, summary.pattern);
    if (has_error(findings))
        return findings;
    const auto blanks = inspection::check_blanks(projections.angles, summary.sinogram,
                                                 n_translation, scan.two_theta(), summary.pattern);
    append(findings, blanks);
    const auto axes = inspection::check_axes(summary.sinogram, n_translation);
    append(findings, axes);
    if (!axes.empty())
        return findings;
    // What is not there is neither dim nor unlike its mirror image.
    const auto blank = [&](Kind kind) {
        return std::ranges::any_of(blanks, [&](const Finding& f) { return f.kind == kind; });
    };
    if (blank(Kind::empty_rays))
        return findings;
    const auto even = even_rows(scan, summary);
    append(findings, look_at_angles(scan, summary, projections, even));
    if (blank(Kind::empty_projections))
        return findings;
    auto unsteady = inspection::check_steadiness(even.rotation, even.sinogram, n_translation);
    for (auto& finding : unsteady)
        finding.index = summary.rows[summary.even[finding.index]];
    append(findings, unsteady);
    if (projections.all)
        append(findings, inspection::check_projections(projections.angles, projections.sums));
    return findings;
}

std::vector<Finding> look_at_transmission(const settings::Job& job, const Scan& scan) {
    if (job.absorption.method != settings::AbsorptionMethod::transmission ||
        !scan.metadata().has_transmission)
        return {};
    return inspection::check_transmission(scan.transmission(), scan.geometry().translation.size());
}

} // namespace

std::vector<Doubt> inspect_scan(const settings::Job& job, const Scan& scan, bool force_data) {
    std::vector<Doubt> doubts;
    const auto take = [&](const std::vector<Finding>& findings) {
        for (const auto& finding : findings) {
            auto text = describe(finding, job, scan);
            if (finding.severity == Severity::error && !force_data)
                throw Error(text + "; --force-data goes on with it");
            doubts.push_back({finding, std::move(text)});
        }
    };
    const auto axes = look_at_axes(scan);
    take(axes);
    const auto summary = summarise(scan);
    auto sinogram = look_at_sinogram(scan, summary);
    append(sinogram, look_at_transmission(job, scan));
    // Lines of a wavelength or range that makes no sense would be no lines, and exchanged axes have
    // no air where it is looked for.
    std::vector<Finding> pattern;
    if (!has_error(axes) && !has_error(sinogram))
        pattern = look_at_pattern(job, scan, summary);
    // A body that is cut off mirrors in part only.
    if (std::ranges::any_of(pattern, [](const Finding& f) { return f.kind == Kind::no_air; }))
        std::erase_if(sinogram, [](const Finding& f) {
            return f.kind == Kind::turn_mistaken || f.kind == Kind::not_mirrored ||
                   f.kind == Kind::angle_scale || f.kind == Kind::moved;
        });
    take(sinogram);
    take(pattern);
    return doubts;
}

} // namespace xrdct::pipeline
