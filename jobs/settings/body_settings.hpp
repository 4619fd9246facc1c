// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "jobs/settings/settings.hpp"

namespace xrdct::settings {

/// Reads what [absorption] says of bodies without a can: mass per length, mean density, container.
/// Throws Error for values that make no sense.
void read_body(Settings& settings, AbsorptionSettings& absorption);

/// Throws Error for keys of such bodies that contradict each other or the method.
void check_body(const Settings& settings, const AbsorptionSettings& absorption);

} // namespace xrdct::settings
