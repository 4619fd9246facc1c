// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/cif_sites.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::crystal {

namespace {

constexpr double same_distance = 0.03;      ///< Å; closer images are never told apart
constexpr double largest_rounding = 0.2;    ///< Å; what digits of old structures leave open
constexpr double largest_stated = 0.5;      ///< Å; what a stated multiplicity may put together
constexpr double digits_off = 1.5;          ///< units of the last digit; 0.666 for 2/3 is one off
constexpr double shared_distance = 0.1;     ///< Å; sites that are mixed on one place
constexpr double impossible_distance = 0.5; ///< Å; no two atoms are as close
constexpr double one_atom = 1.05;           ///< occupancy, with what its digits leave open

gemmi::Fractional image(const gemmi::Op& op, const gemmi::Fractional& p) {
    const auto q = op.apply_to_xyz({p.x, p.y, p.z});
    return {q[0], q[1], q[2]};
}

/// What an operation does to a place: where the image lies, seen from it.
struct Shift {
    gemmi::Fractional by;  ///< shortest
    double distance = 0;   ///< Å
    bool rounding = false; ///< the digits of the place leave open whether the image is itself
};

Shift shift_of(const gemmi::Op& op, const Site& site, const gemmi::UnitCell& cell) {
    Shift shift;
    shift.by = gemmi::Fractional(image(op, site.position) - site.position).wrap_to_zero();
    shift.distance = cell.orthogonalize_difference(shift.by).length();
    shift.rounding = shift.distance < largest_rounding;
    for (int i = 0; i < 3; ++i) {
        double open = 1e-6;
        for (int j = 0; j < 3; ++j) {
            const double move =
                static_cast<double>(op.rot[i][j]) / gemmi::Op::DEN - (i == j ? 1 : 0);
            open += digits_off * std::abs(move) * site.unit[static_cast<std::size_t>(j)];
        }
        shift.rounding &= std::abs(shift.by.at(i)) <= open;
    }
    return shift;
}

/// By falling closeness of the image.
std::vector<Shift> shifts_of(const Site& site, const gemmi::GroupOps& operations,
                             const gemmi::UnitCell& cell) {
    std::vector<Shift> shifts;
    for (const gemmi::Op& op : operations)
        shifts.push_back(shift_of(op, site, cell));
    std::stable_sort(shifts.begin(), shifts.end(), [](const Shift& one, const Shift& other) {
        return one.distance < other.distance;
    });
    return shifts;
}

/// How many of the images make one atom by the stated multiplicity; 0 if it cannot be that.
std::size_t stated_coincidence(const Site& site, const std::vector<Shift>& shifts) {
    const std::size_t order = shifts.size();
    const auto m = static_cast<std::size_t>(site.multiplicity);
    if (m == 0 || m > order || order % m != 0)
        return 0;
    const std::size_t n = order / m;
    const bool apart = n == order || shifts[n].distance > shifts[n - 1].distance + 1e-3;
    return shifts[n - 1].distance < largest_stated && apart ? n : 0;
}

std::size_t count_closer(const std::vector<Shift>& shifts, double distance) {
    return static_cast<std::size_t>(std::count_if(
        shifts.begin(), shifts.end(), [&](const Shift& s) { return s.distance < distance; }));
}

/// A site moved to its special position, and the places of its atoms.
struct Orbit {
    gemmi::Fractional centre;
    std::vector<gemmi::Fractional> places;
    double merged = 0; ///< Å; largest distance of images that only their occupancies make one
};

Orbit orbit_of(const Site& listed, bool use_multiplicity, const gemmi::GroupOps& operations,
               const gemmi::UnitCell& cell) {
    Orbit orbit;
    Site site = listed;
    auto shifts = shifts_of(site, operations, cell);
    auto n = use_multiplicity ? stated_coincidence(site, shifts) : 0;
    std::stable_partition(shifts.begin(), shifts.end(), [&](const Shift& s) {
        return n > 0 || s.distance < same_distance || s.rounding;
    });
    if (n == 0) {
        n = static_cast<std::size_t>(
            std::count_if(shifts.begin(), shifts.end(),
                          [](const Shift& s) { return s.distance < same_distance || s.rounding; }));
        const std::size_t near = count_closer(shifts, largest_rounding);
        const double together = site.occupancy * static_cast<double>(near) / static_cast<double>(n);
        if (near > n && together > one_atom) {
            shifts = shifts_of(site, operations, cell);
            n = near;
            orbit.merged = shifts[n - 1].distance;
        }
    }
    for (int round = 0; round < 4; ++round) {
        gemmi::Vec3 mean(0, 0, 0);
        for (std::size_t i = 0; i < n; ++i)
            mean += shifts[i].by;
        site.position += mean * (1.0 / static_cast<double>(n));
        shifts = shifts_of(site, operations, cell);
        if (shifts[n - 1].distance < 1e-4)
            break;
    }
    orbit.centre = site.position;
    for (const gemmi::Op& op : operations) {
        const gemmi::Fractional q = image(op, orbit.centre).wrap_to_unit();
        const bool known =
            std::any_of(orbit.places.begin(), orbit.places.end(), [&](const auto& place) {
                return cell.distance_sq(q, place) < 0.5 * same_distance * 0.5 * same_distance;
            });
        if (!known)
            orbit.places.push_back(q);
    }
    return orbit;
}

/// Whether the multiplicities stated can be what the name says: old files of SHELXL have the order
/// of the site symmetry there.
bool multiplicities_hold(const std::vector<Site>& sites, const gemmi::GroupOps& operations,
                         const gemmi::UnitCell& cell) {
    return std::all_of(sites.begin(), sites.end(), [&](const Site& site) {
        return site.multiplicity > 0 &&
               stated_coincidence(site, shifts_of(site, operations, cell)) > 0;
    });
}

double closest(const gemmi::Fractional& place, const Orbit& orbit, const gemmi::UnitCell& cell) {
    double d = 1e9;
    for (const auto& other : orbit.places)
        d = std::min(d, cell.distance_sq(place, other));
    return std::sqrt(d);
}

/// Sites, by number, that have one place.
using SharedPlace = std::vector<std::size_t>;

std::string in_words(const SharedPlace& place, const std::vector<Site>& sites) {
    std::vector<std::string> parts;
    for (const std::size_t i : place)
        parts.push_back(fmt::format("\"{}\" ({} {})", sites[i].label,
                                    gemmi::element_name(sites[i].element), sites[i].occupancy));
    return fmt::format("{}", fmt::join(parts, ", "));
}

double occupancy_of(const SharedPlace& place, const std::vector<Site>& sites) {
    double sum = 0;
    for (const std::size_t i : place)
        sum += sites[i].occupancy;
    return sum;
}

/// Leaves out, where a place has too much, what is listed once more; the numbers of those sites.
std::vector<std::size_t> take_out_repeated(SharedPlace& place, const std::vector<Site>& sites) {
    std::vector<std::size_t> repeated;
    if (occupancy_of(place, sites) <= one_atom)
        return repeated;
    SharedPlace kept;
    for (const std::size_t i : place) {
        const bool again = std::any_of(kept.begin(), kept.end(), [&](std::size_t k) {
            return sites[k].element == sites[i].element &&
                   std::abs(sites[k].occupancy - sites[i].occupancy) < 0.01;
        });
        (again ? repeated : kept).push_back(i);
    }
    place = kept;
    return repeated;
}

/// What shares a place: faults, sites listed once more (by number).
std::vector<bool> look_at_places(const std::vector<Site>& sites, const std::vector<Orbit>& orbits,
                                 const gemmi::UnitCell& cell, CellContent& content) {
    std::vector<SharedPlace> places;
    for (std::size_t i = 0; i < sites.size(); ++i) {
        const auto found = std::find_if(places.begin(), places.end(), [&](const SharedPlace& p) {
            return closest(orbits[i].centre, orbits[p.front()], cell) < shared_distance;
        });
        if (found == places.end())
            places.push_back({i});
        else
            found->push_back(i);
    }
    std::vector<bool> repeated(sites.size(), false);
    std::vector<std::string> names, faults;
    for (SharedPlace& place : places) {
        for (const std::size_t i : take_out_repeated(place, sites)) {
            repeated[i] = true;
            names.push_back(fmt::format("\"{}\"", sites[i].label));
        }
        if (occupancy_of(place, sites) > one_atom)
            faults.push_back(fmt::format("{} make {:.4g} atoms of one place",
                                         in_words(place, sites), occupancy_of(place, sites)));
    }
    if (!names.empty())
        content.warnings.push_back(
            fmt::format("listed once more, at their own or an image's place, "
                        "and counted once: {}",
                        fmt::join(names, ", ")));
    content.fault = fmt::format("{}", fmt::join(faults, "; "));
    return repeated;
}

/// Warns of atoms closer than any two are, hydrogen apart, which X-rays place badly.
void look_at_distances(const std::vector<Site>& sites, const std::vector<Orbit>& orbits,
                       const std::vector<bool>& repeated, const gemmi::UnitCell& cell,
                       CellContent& content) {
    std::string worst;
    double shortest = impossible_distance;
    for (std::size_t i = 0; i < sites.size(); ++i)
        for (std::size_t j = 0; j <= i; ++j) {
            if (repeated[i] || repeated[j] || gemmi::is_hydrogen(sites[i].element) ||
                gemmi::is_hydrogen(sites[j].element) ||
                sites[i].occupancy + sites[j].occupancy <= one_atom)
                continue;
            for (const auto& place : orbits[j].places) {
                const double d = std::sqrt(cell.distance_sq(orbits[i].centre, place));
                if (d >= shared_distance && d < shortest) {
                    shortest = d;
                    worst = i == j
                                ? fmt::format("images of \"{}\"", sites[i].label)
                                : fmt::format("\"{}\" and \"{}\"", sites[j].label, sites[i].label);
                }
            }
        }
    if (!worst.empty())
        content.warnings.push_back(fmt::format("{} lie {:.2f} Å apart, closer than two atoms can, "
                                               "and hold more than one; check coordinates, origin "
                                               "and occupancies",
                                               worst, shortest));
}

} // namespace

CellContent expand(const std::vector<Site>& sites, const gemmi::GroupOps& operations,
                   const gemmi::UnitCell& cell, const std::vector<gemmi::El>& elements) {
    CellContent content;
    const bool use_multiplicity = multiplicities_hold(sites, operations, cell);
    std::vector<Orbit> orbits;
    std::vector<std::string> merged;
    for (const Site& site : sites) {
        orbits.push_back(orbit_of(site, use_multiplicity, operations, cell));
        if (orbits.back().merged > 0)
            merged.push_back(fmt::format("\"{}\" ({:.2f} Å)", site.label, orbits.back().merged));
    }
    if (!merged.empty())
        content.warnings.push_back(
            fmt::format("images that lie closer than two atoms can, and "
                        "would be more than one atom, were taken for one: {}",
                        fmt::join(merged, ", ")));
    const auto repeated = look_at_places(sites, orbits, cell, content);
    look_at_distances(sites, orbits, repeated, cell, content);
    for (std::size_t i = 0; i < sites.size(); ++i) {
        const Site& site = sites[i];
        const auto n = static_cast<double>(orbits[i].places.size());
        if (repeated[i]) {
            content.repeated_mass += n * site.occupancy * gemmi::molecular_weight(site.element);
            continue;
        }
        content.attached_hydrogens += n * site.occupancy * site.attached_hydrogens;
        const auto species = static_cast<int>(
            std::find(elements.begin(), elements.end(), site.element) - elements.begin());
        for (const auto& place : orbits[i].places)
            content.atoms.push_back(
                {species, place.x, place.y, place.z, site.occupancy, site.u_iso});
    }
    return content;
}

} // namespace xrdct::crystal
