// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/phase.hpp"
#include "crystal/structure.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <fmt/format.h>
#include <gemmi/it92.hpp>
#include <gemmi/unitcell.hpp>
#include <map>
#include <memory>
#include <xraylib.h>

namespace xrdct::crystal {

namespace {

constexpr std::size_t max_families = 100'000;

/// Laue-equivalent indices with the representative first: most non-negative indices, then the
/// largest.
bool preferred(const Miller& p, const Miller& q) {
    const auto negatives = [](const Miller& m) {
        return std::count_if(m.begin(), m.end(), [](int i) { return i < 0; });
    };
    const auto np = negatives(p), nq = negatives(q);
    return np != nq ? np < nq : p > q;
}

/// |F|² of a structure's reflections at one photon energy.
class StructureFactors {
  public:
    /// `atoms` must outlive this. `energy` [keV], 0: no anomalous terms. Throws Error, naming
    /// `phase`, for an energy outside the tables.
    StructureFactors(const std::vector<gemmi::El>& elements, const std::vector<Atom>& atoms,
                     double energy, const std::string& phase);
    /// |F(hkl)|² [electrons²] at sin²θ/λ² = `stol2` [Å⁻²].
    double squared(const Miller& hkl, double stol2) const;

  private:
    struct Factor {
        std::complex<double> anomalous;
        gemmi::IT92<double>::Coef* coefficients;
    };
    std::vector<Factor> factors_;
    const std::vector<Atom>& atoms_;
};

StructureFactors::StructureFactors(const std::vector<gemmi::El>& elements,
                                   const std::vector<Atom>& atoms, double energy,
                                   const std::string& phase)
    : atoms_(atoms) {
    for (gemmi::El element : elements) {
        Factor factor{0.0, &gemmi::IT92<double>::get(element)};
        if (energy > 0) {
            xrl_error* error = nullptr;
            const int z = gemmi::Element(element).atomic_number();
            const double f1 = Fi(z, energy, &error);
            const double f2 = error != nullptr ? 0.0 : -Fii(z, energy, &error);
            if (error != nullptr) {
                const std::unique_ptr<xrl_error, decltype(&xrl_error_free)> owner(error,
                                                                                  &xrl_error_free);
                throw Error(fmt::format("phase {}: anomalous scattering of {} at {} keV: {}", phase,
                                        gemmi::element_name(element), energy, error->message));
            }
            factor.anomalous = {f1, f2};
        }
        factors_.push_back(factor);
    }
}

double StructureFactors::squared(const Miller& hkl, double stol2) const {
    std::vector<std::complex<double>> f(factors_.size());
    for (std::size_t i = 0; i < factors_.size(); ++i)
        f[i] = factors_[i].coefficients->calculate_sf(stol2) + factors_[i].anomalous;
    std::complex<double> sum = 0;
    for (const Atom& atom : atoms_) {
        const double phase = 2 * pi * (hkl[0] * atom.x + hkl[1] * atom.y + hkl[2] * atom.z);
        const double weight = atom.occupancy * std::exp(-gemmi::u_to_b() * atom.u_iso * stol2);
        sum += weight * f[static_cast<std::size_t>(atom.species)] * std::polar(1.0, phase);
    }
    return std::norm(sum);
}

/// Fills `family` with the Laue-equivalent indices of `hkl`, each once; false, and no family, if
/// `hkl` is not the one that stands for them.
bool list_family(const gemmi::GroupOps& operations, const Miller& hkl,
                 std::vector<Miller>& family) {
    family.clear();
    for (const gemmi::Op& op : operations.sym_ops) {
        const auto e = op.apply_to_hkl(hkl);
        for (const Miller& m : {Miller{e[0], e[1], e[2]}, Miller{-e[0], -e[1], -e[2]}}) {
            if (preferred(m, hkl))
                return false;
            family.push_back(m);
        }
    }
    std::sort(family.begin(), family.end());
    family.erase(std::unique(family.begin(), family.end()), family.end());
    return true;
}

/// The coefficients of 1/d² that go with the independent parameters of the reciprocal metric.
std::array<int, 6> metric_key(const Miller& m, CrystalSystem system, char unique_axis) {
    const auto [h, k, l] = m;
    switch (system) {
    case CrystalSystem::cubic:
        return {h * h + k * k + l * l};
    case CrystalSystem::tetragonal:
        return {h * h + k * k, l * l};
    case CrystalSystem::hexagonal:
        return {h * h + h * k + k * k, l * l};
    case CrystalSystem::trigonal_rhombohedral:
        return {h * h + k * k + l * l, h * k + k * l + h * l};
    case CrystalSystem::orthorhombic:
        return {h * h, k * k, l * l};
    case CrystalSystem::monoclinic:
        return {h * h, k * k, l * l,
                unique_axis == 'a' ? k * l : (unique_axis == 'b' ? h * l : h * k)};
    case CrystalSystem::triclinic:
        return {h * h, k * k, l * l, h * k, k * l, h * l};
    }
    throw Error("unknown crystal system");
}

} // namespace

std::vector<Reflection> Phase::reflections(double d_min, const ScatteringOptions& options) const {
    const Structure& s = *structure_;
    if (!(d_min > 0))
        throw Error(
            fmt::format("phase {}: d_min is {} Å, a positive value was expected", s.name, d_min));
    const std::size_t laue_order =
        s.operations.sym_ops.size() * (s.operations.is_centrosymmetric() ? 1 : 2);
    const auto too_many = [&](double n) {
        return Error(
            fmt::format("phase {}: about {:.0f} reflection families down to d = {} Å, more "
                        "than {}; raise d_min",
                        s.name, n, d_min, max_families));
    };
    const double estimate = 4.0 / 3.0 * pi * s.cell.volume() /
                            static_cast<double>(s.operations.cen_ops.size()) /
                            (d_min * d_min * d_min) / static_cast<double>(laue_order);
    if (estimate > 1.5 * static_cast<double>(max_families))
        throw too_many(estimate);

    const StructureFactors factors(s.elements, s.atoms, options.energy, s.name);
    const bool friedel_pairs_differ = options.energy > 0 && !s.operations.is_centrosymmetric();

    // |h| ≤ a/d because the spacing along a lattice vector cannot exceed its length.
    const double limit = 1 / (d_min * d_min) * (1 + 1e-12);
    const int h_max = static_cast<int>(std::floor(s.cell.a / d_min * (1 + 1e-9)));
    const int k_max = static_cast<int>(std::floor(s.cell.b / d_min * (1 + 1e-9)));
    const int l_max = static_cast<int>(std::floor(s.cell.c / d_min * (1 + 1e-9)));
    std::vector<Reflection> list;
    std::vector<Miller> family;
    for (int h = -h_max; h <= h_max; ++h)
        for (int k = -k_max; k <= k_max; ++k)
            for (int l = -l_max; l <= l_max; ++l) {
                const Miller hkl{h, k, l};
                if (h == 0 && k == 0 && l == 0)
                    continue;
                const double q = s.cell.inverse_d_squared(hkl);
                if (q > limit)
                    continue;
                if (!list_family(s.operations, hkl, family) ||
                    s.operations.is_systematically_absent(hkl))
                    continue;
                if (list.size() == max_families)
                    throw too_many(estimate);
                double f2 = factors.squared(hkl, q / 4);
                if (friedel_pairs_differ)
                    f2 = 0.5 * (f2 + factors.squared({-h, -k, -l}, q / 4));
                list.push_back({hkl, static_cast<int>(family.size()), f2, 1 / std::sqrt(q)});
            }
    std::sort(list.begin(), list.end(), [](const Reflection& p, const Reflection& q) {
        return p.d != q.d ? p.d > q.d : preferred(p.hkl, q.hkl);
    });
    return list;
}

std::vector<Miller> Phase::equivalent_reflections(const Miller& hkl) const {
    std::vector<Miller> family;
    for (const gemmi::Op& op : structure_->operations.sym_ops) {
        const auto e = op.apply_to_hkl(hkl);
        family.push_back({e[0], e[1], e[2]});
        family.push_back({-e[0], -e[1], -e[2]});
    }
    std::sort(family.begin(), family.end());
    family.erase(std::unique(family.begin(), family.end()), family.end());
    return family;
}

std::vector<PowderLine> merge_coincident(const std::vector<Reflection>& reflections,
                                         CrystalSystem system, char unique_axis,
                                         std::vector<std::size_t>* line) {
    struct Entry {
        PowderLine line;
        double strongest = -1;
        std::vector<std::size_t> members;
    };
    std::map<std::array<int, 6>, Entry> lines;
    for (const Reflection& r : reflections) {
        Entry& entry = lines[metric_key(r.hkl, system, unique_axis)];
        if (line)
            entry.members.push_back(static_cast<std::size_t>(&r - reflections.data()));
        const double intensity = r.multiplicity * r.structure_factor_squared;
        entry.line.intensity += intensity;
        entry.line.multiplicity += r.multiplicity;
        entry.line.d = r.d;
        if (intensity > entry.strongest) {
            entry.strongest = intensity;
            entry.line.hkl = r.hkl;
        }
    }
    std::vector<const Entry*> order;
    order.reserve(lines.size());
    for (const auto& [k, entry] : lines)
        order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) {
        const PowderLine &p = a->line, &q = b->line;
        return p.d != q.d ? p.d > q.d : p.hkl > q.hkl;
    });
    std::vector<PowderLine> result;
    result.reserve(lines.size());
    if (line)
        line->assign(reflections.size(), 0);
    for (const Entry* entry : order) {
        for (const std::size_t member : entry->members)
            (*line)[member] = result.size();
        result.push_back(entry->line);
    }
    return result;
}

} // namespace xrdct::crystal
