// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/petsc: shows PETSc.
#include "solvers/petsc/session.hpp"

#include <petscsys.h>

#include <cstddef>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::petsc {

/// A PETSc return code as Error, with the text PETSc's error handler was given.
void check(PetscErrorCode code);
/// Drops the text of an error that was meant (a callback that wanted out).
void forget_error();

/// Owner of a PETSc object.
template <class T, PetscErrorCode (*Destroy)(T*)>
class Handle {
  public:
    Handle() = default;
    Handle(Handle&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Handle& operator=(Handle&& other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() {
        if (object_ != nullptr)
            Destroy(&object_);
    }
    T get() const { return object_; }
    T* put() { return &object_; }

  private:
    T object_ = nullptr;
};

/// First index of this rank's share and the length of a vector of which it holds `local` entries.
/// Collective. Throws Error when the length does not fit PETSc's index type.
struct Layout {
    PetscInt local = 0;
    PetscInt first = 0;
    PetscInt global = 0;
};
Layout make_layout(const mpi::Communicator& communicator, std::size_t local);

class Session::Impl {
  public:
    struct Option {
        std::string name; ///< with hyphen
        std::string value;
        bool used = false;
    };

    Impl(const mpi::Communicator& communicator, std::vector<Option> options, ErrorTrace trace);
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() = default;

    const Option* find(const std::string& name) const;
    std::vector<std::string> unused() const;
    void require_used(bool after_solve) const;

    std::vector<Option> options;
    ErrorTrace trace;
};

using OptionValues = std::map<std::string, std::string>;

/// While it lives, PETSc reads the options of the session: `defaults` hold where the session says
/// nothing, `overrides` where it does, too. Marks the options that were asked for.
class OptionScope {
  public:
    OptionScope(Session::Impl& session, const OptionValues& defaults = {},
                const OptionValues& overrides = {});
    OptionScope(const OptionScope&) = delete;
    OptionScope& operator=(const OptionScope&) = delete;
    ~OptionScope();
    /// Brings Option::used up to date; the destructor does so as well.
    void note_used();

  private:
    Session::Impl& session_;
    PetscOptions database_ = nullptr;
};

} // namespace xrdct::petsc
