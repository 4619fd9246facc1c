// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/symmetry.hpp"

#include "base/error.hpp"
#include "crystal/space_group_name.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <exception>
#include <fmt/format.h>
#include <optional>

namespace xrdct::crystal {

namespace {

/// First non-null value of several tags, unquoted.
std::string value_of(const gemmi::cif::Block& block, std::initializer_list<const char*> tags) {
    for (const char* tag : tags)
        if (const std::string* value = block.find_value(tag))
            if (!gemmi::cif::is_null(*value)) {
                std::string text = gemmi::cif::as_string(*value);
                const auto begin = text.find_first_not_of(" \t\r\n");
                if (begin == std::string::npos)
                    continue;
                return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
            }
    return {};
}

std::string group_name(const gemmi::GroupOps& operations, const std::string& fallback) {
    if (const gemmi::SpaceGroup* group = gemmi::find_spacegroup_by_ops(operations))
        return group->xhm();
    return fallback;
}

/// "y+0.5" as "y+12/24": the parser knows fractions only.
std::string with_fractions(const std::string& triplet) {
    std::string result;
    for (std::size_t i = 0; i < triplet.size();) {
        std::size_t n = 0;
        while (i + n < triplet.size() &&
               (std::isdigit(static_cast<unsigned char>(triplet[i + n])) != 0 ||
                triplet[i + n] == '.'))
            ++n;
        const std::string digits = triplet.substr(i, n);
        if (digits.find('.') != std::string::npos && digits.size() > 1) {
            const double units = gemmi::Op::DEN * std::stod(digits);
            if (std::abs(units - std::round(units)) > 0.1)
                throw Error(fmt::format("{} is no crystallographic translation", digits));
            result += fmt::format("{}/{}", std::lround(units), int{gemmi::Op::DEN});
        } else {
            result += n > 0 ? digits : triplet.substr(i, 1);
        }
        i += std::max<std::size_t>(n, 1);
    }
    return result;
}

std::optional<gemmi::GroupOps> read_operators(gemmi::cif::Block& block, const std::string& source,
                                              std::vector<std::string>& warnings) {
    gemmi::cif::Column column;
    for (const char* tag : {"_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz"}) {
        column = block.find_values(tag);
        if (column.length() > 0)
            break;
    }
    std::vector<gemmi::Op> operators;
    for (const std::string& raw : column) {
        if (gemmi::cif::is_null(raw))
            continue;
        std::string triplet = gemmi::cif::as_string(raw);
        std::erase_if(triplet, [](unsigned char c) { return std::isspace(c) != 0; });
        try {
            gemmi::Op op = gemmi::parse_triplet(with_fractions(triplet));
            op.wrap();
            if (std::abs(op.det_rot()) != gemmi::Op::DEN * gemmi::Op::DEN * gemmi::Op::DEN)
                throw Error("it is neither a rotation nor a rotoinversion");
            if (std::find(operators.begin(), operators.end(), op) == operators.end())
                operators.push_back(op);
        } catch (const std::exception& e) {
            throw Error(fmt::format("{}: symmetry operator \"{}\": {}", source, triplet, e.what()));
        }
    }
    if (operators.empty())
        return std::nullopt;

    const auto identity = std::find(operators.begin(), operators.end(), gemmi::Op::identity());
    if (identity == operators.end())
        warnings.push_back("the list of symmetry operators lacks x,y,z; it was added");
    const std::size_t listed = operators.size() + (identity == operators.end() ? 1 : 0);

    gemmi::GroupOps group;
    try {
        group = gemmi::split_centering_vectors(operators);
        if (std::find(group.cen_ops.begin(), group.cen_ops.end(), gemmi::Op::Tran{0, 0, 0}) ==
            group.cen_ops.end())
            group.cen_ops.insert(group.cen_ops.begin(), gemmi::Op::Tran{0, 0, 0});
        else
            std::iter_swap(
                group.cen_ops.begin(),
                std::find(group.cen_ops.begin(), group.cen_ops.end(), gemmi::Op::Tran{0, 0, 0}));
        group.add_missing_elements();
    } catch (const std::exception& e) {
        throw Error(fmt::format("{}: the symmetry operators form no group: {}", source, e.what()));
    }
    if (static_cast<std::size_t>(group.order()) != listed)
        warnings.push_back(fmt::format(
            "{} symmetry operators are listed, which is no complete group; completed to {}", listed,
            group.order()));
    return group;
}

bool contains(const std::vector<const gemmi::SpaceGroup*>& groups,
              const gemmi::GroupOps& operations) {
    return std::any_of(groups.begin(), groups.end(), [&](const gemmi::SpaceGroup* group) {
        return group->operations().is_same_as(operations);
    });
}

/// What a block says of its symmetry, item by item.
struct StatedGroup {
    std::string hall, name, number;
    std::vector<const gemmi::SpaceGroup*> named; ///< what the name may mean
    std::optional<gemmi::GroupOps> by_hall;
};

StatedGroup read_stated_group(const gemmi::cif::Block& block, double alpha, double gamma,
                              std::vector<std::string>& warnings) {
    StatedGroup stated;
    stated.hall = value_of(block, {"_space_group_name_Hall", "_symmetry_space_group_name_Hall"});
    stated.name = value_of(block, {"_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M",
                                   "_space_group_name_H-M", "_symmetry_space_group_name_H-M_alt",
                                   "_space_group_name_H-M_full", "_space_group_name_H-M_ref"});
    stated.number = value_of(block, {"_space_group_IT_number", "_symmetry_Int_Tables_number"});
    if (!stated.name.empty())
        stated.named = groups_of_name(stated.name, alpha, gamma);
    if (!stated.hall.empty()) {
        try {
            stated.by_hall = gemmi::symops_from_hall(stated.hall.c_str());
        } catch (const std::exception& e) {
            warnings.push_back(
                fmt::format("Hall symbol \"{}\" was ignored: {}", stated.hall, e.what()));
        }
    }
    return stated;
}

void take_operators(const gemmi::GroupOps& operations, const StatedGroup& stated,
                    SymmetryStatement& statement) {
    const auto& name = stated.name;
    const std::string used = group_name(operations, name.empty() ? "unnamed" : name);
    if (stated.by_hall && !stated.by_hall->is_same_as(operations))
        statement.warnings.push_back(fmt::format("the symmetry operators ({}) differ from the Hall "
                                                 "symbol \"{}\"; the operators were used",
                                                 used, stated.hall));
    if (!name.empty() && stated.named.empty())
        statement.warnings.push_back(
            fmt::format("space group \"{}\" is not known; the symmetry operators were used", name));
    else if (!stated.named.empty() && !contains(stated.named, operations))
        statement.warnings.push_back(
            fmt::format("the symmetry operators ({}) differ from the space group \"{}\"; the "
                        "operators were used",
                        used, name));
    statement.candidates.push_back({operations, used});
}

void take_hall_symbol(const StatedGroup& stated, SymmetryStatement& statement) {
    const std::string used = group_name(*stated.by_hall, stated.hall);
    if (!stated.named.empty() && !contains(stated.named, *stated.by_hall))
        statement.warnings.push_back(
            fmt::format("the Hall symbol \"{}\" ({}) differs from the space group \"{}\"; the "
                        "Hall symbol was used",
                        stated.hall, used, stated.name));
    statement.candidates.push_back({*stated.by_hall, used});
}

void take_name(const StatedGroup& stated, SymmetryStatement& statement) {
    const auto& named = stated.named;
    for (const gemmi::SpaceGroup* group : named)
        statement.candidates.push_back({group->operations(), group->xhm()});
    int number = 0;
    try {
        number = stated.number.empty() ? 0 : std::stoi(stated.number);
    } catch (const std::exception&) {
        statement.warnings.push_back(
            fmt::format("space-group number \"{}\" is no number", stated.number));
    }
    if (number != 0 && number != named.front()->number)
        statement.warnings.push_back(
            fmt::format("space group \"{}\" is number {}, the file says {}; the name was used",
                        stated.name, named.front()->number, number));
}

/// The standard setting of a space-group number, with the other origin where there are two; none
/// for a number that is not one.
std::vector<SymmetryCandidate> groups_of_number(int number, double alpha, double gamma) {
    std::vector<SymmetryCandidate> groups;
    for (const gemmi::SpaceGroup& group : gemmi::spacegroup_tables::main)
        if (group.number == number && group.is_reference_setting()) {
            if (group.ext == 'H' && gamma < 1.125 * alpha)
                continue;
            groups.push_back({group.operations(), group.xhm()});
            if (group.ext == '2')
                for (const gemmi::SpaceGroup& other : gemmi::spacegroup_tables::main)
                    if (other.number == number && other.ext == '1' &&
                        std::string_view(other.hm) == group.hm)
                        groups.push_back({other.operations(), other.xhm()});
            break;
        }
    if (groups.empty())
        for (const gemmi::SpaceGroup& group : gemmi::spacegroup_tables::main)
            if (group.number == number && group.ext == 'R')
                groups.push_back({group.operations(), group.xhm()});
    return groups;
}

void take_number(const StatedGroup& stated, double alpha, double gamma, const std::string& source,
                 SymmetryStatement& statement) {
    int value = 0;
    try {
        value = std::stoi(stated.number);
    } catch (const std::exception&) {
        throw Error(
            fmt::format("{}: space-group number \"{}\" is no number", source, stated.number));
    }
    statement.candidates = groups_of_number(value, alpha, gamma);
    if (statement.candidates.empty())
        throw Error(fmt::format("{}: {} is no space-group number", source, stated.number));
    statement.warnings.push_back(fmt::format(
        "only the space-group number {} is {}; its standard setting {} was used", value,
        stated.name.empty() ? "given" : "understood (the name \"" + stated.name + "\" is not)",
        statement.candidates.front().name));
}

} // namespace

SymmetryStatement read_symmetry(gemmi::cif::Block& block, double alpha, double gamma,
                                const std::string& source) {
    SymmetryStatement statement;
    const StatedGroup stated = read_stated_group(block, alpha, gamma, statement.warnings);
    if (const auto operations = read_operators(block, source, statement.warnings)) {
        take_operators(*operations, stated, statement);
    } else if (stated.by_hall) {
        take_hall_symbol(stated, statement);
    } else if (!stated.named.empty()) {
        take_name(stated, statement);
    } else if (!stated.number.empty()) {
        take_number(stated, alpha, gamma, source, statement);
    } else if (!stated.name.empty()) {
        throw Error(fmt::format("{}: space group \"{}\" is not known, and neither symmetry "
                                "operators nor a Hall symbol are given",
                                source, stated.name));
    } else {
        throw Error(fmt::format("{}: no symmetry: expected _space_group_symop_operation_xyz, "
                                "_space_group_name_Hall or _space_group_name_H-M_alt",
                                source));
    }
    return statement;
}

LatticeSymmetry lattice_symmetry(const gemmi::GroupOps& operations, const std::string& source) {
    // A metric without accidental equalities, averaged over the group, shows what symmetry imposes.
    const double generic[3][3] = {
        {1.0, 0.0713, 0.1279}, {0.0713, 1.3171, 0.0931}, {0.1279, 0.0931, 1.7327}};
    double g[3][3] = {};
    for (const gemmi::Op& op : operations.sym_ops)
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j)
                for (int m = 0; m < 3; ++m)
                    for (int n = 0; n < 3; ++n)
                        g[i][j] += op.rot[m][i] * generic[m][n] * op.rot[n][j];
    const double scale = 3.0 / (g[0][0] + g[1][1] + g[2][2]);
    for (auto& row : g)
        for (double& value : row)
            value *= scale;
    const auto same = [](double x, double y) { return std::abs(x - y) < 1e-9; };
    const bool ab = same(g[0][0], g[1][1]), bc = same(g[1][1], g[2][2]),
               ac = same(g[0][0], g[2][2]);
    const bool alpha90 = same(g[1][2], 0), beta90 = same(g[0][2], 0), gamma90 = same(g[0][1], 0);

    if (alpha90 && beta90 && gamma90) {
        if (ab && bc)
            return {CrystalSystem::cubic, 'b'};
        if (ab)
            return {CrystalSystem::tetragonal, 'c'};
        if (!bc && !ac)
            return {CrystalSystem::orthorhombic, 'b'};
    } else if (alpha90 && beta90 && ab && same(2 * g[0][1], -g[0][0])) {
        return {CrystalSystem::hexagonal, 'c'};
    } else if (ab && bc && same(g[0][1], g[0][2]) && same(g[0][1], g[1][2])) {
        return {CrystalSystem::trigonal_rhombohedral, 'c'};
    } else if (!ab && !bc && !ac) {
        if (beta90 && gamma90)
            return {CrystalSystem::monoclinic, 'a'};
        if (alpha90 && gamma90)
            return {CrystalSystem::monoclinic, 'b'};
        if (alpha90 && beta90)
            return {CrystalSystem::monoclinic, 'c'};
        if (!alpha90 && !beta90 && !gamma90)
            return {CrystalSystem::triclinic, 'b'};
    }
    throw Error(
        fmt::format("{}: the symmetry operators use an unusual setting of axes; transform the "
                    "structure to a standard setting",
                    source));
}

} // namespace xrdct::crystal
