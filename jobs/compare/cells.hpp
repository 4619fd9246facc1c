// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/products.hpp"
#include "registration/image_grid.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace xrdct::compare {

/// One map of a cell with its standard deviations; `errors` may be empty.
struct CellMap {
    std::string units;
    std::vector<double> values; ///< [y, x] on the cell's grid
    std::vector<double> errors;
    bool codes = false; ///< statuses: not to be averaged
};

/// What the maps of a group are of.
enum class GroupKind { phase, peak, electrode };

/// "phase", "single peak" or "electrode".
std::string name_of(GroupKind kind);

/// The maps of a phase, of a single peak, or of the lithium in an electrode.
struct CellGroup {
    std::string name;
    GroupKind kind = GroupKind::phase;
    std::map<std::string, CellMap> maps; ///< by quantity
    /// What the group's statistics are weighted with: the volume fraction where there is one, else
    /// density, scale or weight fraction; a peak's area; the host of an electrode. Empty: none of
    /// them.
    std::string amount;

    const CellMap* find(const std::string& quantity) const;
};

/// One result of `xrdct run`, read for a comparison.
struct Cell {
    std::string label;
    std::filesystem::path path;
    std::string title;
    std::string stage; ///< the stage whose maps are compared
    std::string version, date;
    registration::PixelGrid grid;
    std::vector<CellGroup> groups;
    std::vector<double> total; ///< total scattering, empty: not known
    std::string total_units;
    std::vector<unsigned char> mask;              ///< the sample; empty: not known
    std::map<std::string, std::string> checksums; ///< file → SHA-256
    /// Quantity relative_mass was derived, see add_relative_mass; by phase: share of the
    /// crystalline mass of the whole cell. Empty: it could not be.
    std::map<std::string, double> mass_share;

    const CellGroup* find(const std::string& group) const;
};

/// Name of the derived quantity: crystalline mass of the phase in the voxel over the mean
/// crystalline mass of the sample's voxels.
inline constexpr const char* relative_mass = "relative_mass";

/// Name of the moles of host of an electrode in a voxel over their mean.
inline constexpr const char* relative_host = "relative_host";

/// Reads the results: folders with products, or product files. The lithium of a folder is that of
/// its analysis.nxs, where that is up to date. The stage compared is `stage`, or,
/// if that is empty, the last one of the pipeline that has phases in all of them. `labels` are as
/// many as `paths`, or none: then the folders' names. Serial.
/// @throws Error naming the path: missing, no product, no stage with phases, maps on an axis that
/// is not regular or of several sizes, no finite value in any map, labels that do not match.
std::vector<Cell> read_cells(const std::vector<std::filesystem::path>& paths,
                             const std::vector<std::string>& labels, const std::string& stage);

/// One result, or the truth of a simulation (its only stage). Serial; throws likewise.
Cell read_result(const std::filesystem::path& path, const std::string& stage);

} // namespace xrdct::compare
