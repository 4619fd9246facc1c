// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/observer.hpp"

#include <string_view>

namespace xrdct::dlsr {

struct State;

/// What a DLSR says while it works, besides what every solver does. This one is silent.
class Observer : public solvers::Observer {
  public:
    /// A line about the course of the fit, for a log. The root alone makes this call.
    virtual void log(std::string_view /*line*/) {}
    /// The time since the last call (or the beginning) went into `part`.
    virtual void lap(std::string_view /*part*/) {}
    /// The state is whole, for a checkpoint; vectors of unknowns are filled on the root only. It
    /// is followed by stop_point(). Collective.
    virtual void keep(const State& /*state*/) {}
};

} // namespace xrdct::dlsr
