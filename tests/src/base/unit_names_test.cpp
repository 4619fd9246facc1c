// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/unit_names.hpp"
#include "base/units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct::nexus {
namespace {

using testing::HasSubstr;

TEST(UnitsTest, AcceptsTheSpellingsOfTheField) {
    for (const char* unit : {"deg", "degree", "degrees", "Deg", " deg ", "°"})
        EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::angle, unit, ""), 1) << unit;
    for (const char* unit : {"rad", "radian", "radians"})
        EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::angle, unit, ""), 180 / pi) << unit;
    for (const char* unit : {"um", "µm", "μm", "micrometer", "micron", "microns"})
        EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::length, unit, ""), 1e-3) << unit;
    EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::length, "m", ""), 1000);
    EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::length, "mm", ""), 1);
    for (const char* unit : {"Å", "angstrom", "Angstrom", "A", "Å", "Å"})
        EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::wavelength, unit, ""), 1) << unit;
    EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::wavelength, "nm", ""), 10);
    EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::wavelength, "m", ""), 1e10);
    EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::energy, "eV", ""), 1e-3);
    EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::energy, "keV", ""), 1);
    EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::energy, "MeV", ""), 1e3);
    for (const char* unit :
         {"1/angstrom", "angstrom^-1", "A^-1", "Å⁻¹", "1/Å", "Angstrom^{-1}", "Å^-1", "1/A"})
        EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::inverse_length, unit, ""), 1) << unit;
    for (const char* unit : {"1/nm", "nm^-1", "nm⁻¹", "nm**-1"})
        EXPECT_DOUBLE_EQ(unit_factor(units::Quantity::inverse_length, unit, ""), 0.1) << unit;
}

TEST(UnitsTest, RefusesWhatIsNoUnitOfTheQuantityAndListsTheAccepted) {
    for (const char* unit : {"", "furlong", "deg/s", "1/mm^2", "meV", "Mm"})
        for (const units::Quantity quantity :
             {units::Quantity::angle, units::Quantity::length, units::Quantity::energy,
              units::Quantity::inverse_length})
            EXPECT_FALSE(is_unit_of(quantity, unit)) << unit;
    try {
        unit_factor(units::Quantity::length, "furlong", "scan.nxs:/entry/data/translation");
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("scan.nxs:/entry/data/translation"));
        EXPECT_THAT(error.what(), HasSubstr("furlong"));
        EXPECT_THAT(error.what(), HasSubstr(" mm "));
    }
}

TEST(UnitsTest, CanonicalUnitsHaveFactorOne) {
    for (const units::Quantity quantity :
         {units::Quantity::angle, units::Quantity::length, units::Quantity::wavelength,
          units::Quantity::energy, units::Quantity::inverse_length, units::Quantity::time})
        EXPECT_DOUBLE_EQ(unit_factor(quantity, canonical_unit(quantity), ""), 1);
}

} // namespace
} // namespace xrdct::nexus
