// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <string_view>

namespace xrdct::solvers {

/// What a solver says while it works, without printing: a caller that shows progress, keeps notes
/// or stops runs overrides what it wants to hear. This one is silent. Unless said otherwise a call
/// is not collective and every rank makes it.
class Observer {
  public:
    Observer() = default;
    virtual ~Observer() = default;
    Observer(const Observer&) = delete;
    Observer& operator=(const Observer&) = delete;

    /// A part of the work begins, of `total` units; it ends the part before.
    virtual void begin(std::string_view /*title*/, std::size_t /*total*/) {}
    /// `done` units of the part are finished; cheap enough to call often.
    virtual void progress(std::size_t /*done*/) {}
    /// The part ends, with a remark for the user or none.
    virtual void end(std::string_view /*remark*/ = {}) {}
    /// An iteration has ended with a residual (Rwp as a fraction, or a change); −1: none.
    virtual void step(long /*iteration*/, double /*residual*/) {}
    /// What a user should know about the result.
    virtual void note(std::string_view /*text*/) {}
    /// Called where the solver's state is whole; may throw to end the run in order. Collective.
    virtual void stop_point() {}

    /// The observer that hears nothing.
    static Observer& silent() {
        static Observer observer;
        return observer;
    }
};

} // namespace xrdct::solvers
