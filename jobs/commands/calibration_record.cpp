// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/calibration_record.hpp"

#include "jobs/program/version.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/nexus/nexus.hpp"

#include <utility>

#include <fmt/format.h>

namespace xrdct::commands {

settings::InstrumentFile calibration_record(const rietveld::Calibration& result,
                                            const rietveld::CalibrationOptions& options,
                                            const Standard& standard,
                                            const patterns::PatternFile& pattern,
                                            const std::vector<ExcludedRange>& excluded) {
    settings::InstrumentFile file;
    file.profile = result.instrument();
    const auto& terms = result.profile;
    file.profile_errors = {terms[0].esd, terms[1].esd, terms[2].esd,
                           terms[3].esd, terms[4].esd, terms[5].esd};
    file.wavelength = result.wavelength.value;
    file.wavelength_error = result.wavelength.esd;
    file.distance = result.distance.value;
    file.distance_error = result.distance.esd;
    file.zero = result.zero.value;
    file.zero_error = result.zero.esd;
    for (const auto& [value, name] : {std::pair{&result.wavelength, "wavelength"},
                                      {&result.distance, "distance"},
                                      {&result.zero, "zero"}})
        if (value->refined)
            file.calibrated.emplace_back(name);
    file.standard = standard.phase.name();
    file.standard_source = standard.source;
    const auto& cell = standard.phase.cell();
    file.cell = {cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma};
    if (options.scale == rietveld::RadialScale::cell) {
        file.cell_deviation = result.cell_ppm;
        file.cell_deviation_error = result.cell_ppm_esd;
    }
    const auto centres = pattern.axis.two_theta();
    file.two_theta_min = centres.front();
    file.two_theta_max = centres.back();
    for (const auto& range : excluded) {
        file.excluded.push_back(range.from);
        file.excluded.push_back(range.to);
    }
    constexpr int points = 6;
    for (int i = 0; i < points; ++i) {
        const double angle =
            file.two_theta_min + (file.two_theta_max - file.two_theta_min) * i / (points - 1);
        file.two_theta.push_back(angle);
        file.fwhm.push_back(result.fwhm(angle));
    }
    if (const int worst = result.worst_line(); worst >= 0)
        file.largest_width_deviation = result.lines[static_cast<std::size_t>(worst)].deviation();
    file.intensities = result.extracted ? "extracted" : "structure";
    file.rwp = result.fit.agreement.rwp;
    file.gof = result.fit.agreement.gof;
    file.r_bragg = result.fit.phases[0].r_bragg;
    file.program = fmt::format("xrdct {} (revision {})", program_version, revision());
    file.date = nexus::now_utc();
    file.pattern = pattern.path.string();
    file.pattern_sha256 = files::sha256_of_file(pattern.path);
    return file;
}

} // namespace xrdct::commands
