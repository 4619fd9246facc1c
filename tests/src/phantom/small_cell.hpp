// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/scan_simulator.hpp"

#include <vector>

namespace xrdct::phantom {

/// Three millimetres across, everything in it.
inline phantom::CellDesign small_cell(phantom::Preset preset = phantom::Preset::mixed) {
    phantom::CellDesign cell;
    cell.preset = preset;
    cell.outer_diameter = 3.2;
    cell.can_thickness = 0.15;
    cell.core_diameter = 0.5;
    cell.layers = {0.030, 0.010, 0.030, 0.008, 0.010};
    cell.windings_without_cathode = 1;
    cell.tab_length = 0.8;
    cell.hot_spots_per_mm2 = 2;
    return cell;
}

/// Iron, but for a pinhole of 0.1 mm radius on the axis.
inline phantom::CellDesign iron_rod(double outer_diameter = 4) {
    phantom::CellDesign cell;
    cell.preset = phantom::Preset::charged;
    cell.outer_diameter = outer_diameter;
    cell.can_thickness = 0.5 * outer_diameter - 0.1;
    cell.core_diameter = 0.05;
    cell.can_gap = 0.005;
    cell.layers = {0.002, 0.001, 0.002, 0.001, 0.001};
    cell.tab_length = 0;
    cell.hot_spots_per_mm2 = 0;
    return cell;
}

inline phantom::ScanDesign small_scan() {
    phantom::ScanDesign scan;
    scan.translations = 24;
    scan.rotations = 6;
    scan.channels = 120;
    scan.two_theta_first = 3.2;
    scan.background = 0;
    scan.separator_peak = 0;
    return scan;
}

struct Line {
    std::vector<float> intensity, transmission;
};

inline Line line(const phantom::ScanSimulator& simulator, std::size_t i) {
    Line l{std::vector<float>(simulator.n_translations() * simulator.n_channels()),
           std::vector<float>(simulator.n_translations())};
    simulator.simulate_rotation(i, l.intensity, l.transmission);
    return l;
}

} // namespace xrdct::phantom
