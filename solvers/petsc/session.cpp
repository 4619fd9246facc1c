// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/session.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "solvers/petsc/internal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <sstream>

namespace xrdct::petsc {

namespace {

/// PETSc is one per process; so is this.
struct Runtime {
    std::optional<mpi::Communicator> world; ///< PETSC_COMM_WORLD; set while PETSc is started
    ErrorTrace trace = ErrorTrace::no;
    std::string error;
};
Runtime runtime;

PetscErrorCode keep_error(MPI_Comm, int line, const char* function, const char* file,
                          PetscErrorCode code, PetscErrorType type, const char* message, void*) {
    const char* where = function != nullptr ? function : "unknown function";
    if (type == PETSC_ERROR_INITIAL) {
        const char* meaning = nullptr;
        PetscErrorMessage(code, &meaning, nullptr);
        runtime.error = fmt::format("{}: {}", where, message != nullptr ? message : "");
        if (meaning != nullptr)
            runtime.error += fmt::format(" ({})", meaning);
    }
    if (runtime.trace == ErrorTrace::yes)
        runtime.error +=
            fmt::format("\n  in {} ({}:{})", where, file != nullptr ? file : "?", line);
    return code;
}

bool is_name(std::string_view word) {
    return word.size() > 1 && word[0] == '-' &&
           std::isalpha(static_cast<unsigned char>(word[1])) != 0;
}

std::vector<Session::Impl::Option> parse(std::string_view text) {
    std::vector<Session::Impl::Option> options;
    std::istringstream words{std::string(text)};
    bool wants_value = false;
    for (std::string word; words >> word;) {
        if (is_name(word)) {
            std::erase_if(options, [&](const auto& option) { return option.name == word; });
            options.push_back({word, "", false});
            wants_value = true;
        } else if (wants_value) {
            options.back().value = word;
            wants_value = false;
        } else {
            throw Error(fmt::format("PETSc options: '{}' is neither an option (-name) nor the "
                                    "value of one",
                                    word));
        }
    }
    return options;
}

int finalize(MPI_Comm, int, void*, void*) {
    PetscPopErrorHandler();
    PetscFinalize();
    runtime.world.reset();
    return MPI_SUCCESS;
}

/// MPI_Finalize deletes the attributes of MPI_COMM_SELF first, while communication still works.
void finalize_before_mpi() {
    int key = MPI_KEYVAL_INVALID;
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, finalize, &key, nullptr);
    MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr);
    MPI_Comm_free_keyval(&key);
}

void start(const mpi::Communicator& communicator,
           const std::vector<Session::Impl::Option>& options) {
    std::vector<std::string> words = {"xrdct", "-no_signal_handler", "true", "-skip_petscrc",
                                      "true",  "-options_left",      "false"};
    for (const auto& option : options) {
        words.push_back(option.name);
        if (!option.value.empty())
            words.push_back(option.value);
    }
    std::vector<char*> pointers;
    for (std::string& word : words)
        pointers.push_back(word.data());
    pointers.push_back(nullptr);
    int argc = static_cast<int>(words.size());
    char** argv = pointers.data();
    runtime.world.emplace(communicator.duplicate());
    PETSC_COMM_WORLD = runtime.world->handle();
    const PetscErrorCode code = PetscInitialize(&argc, &argv, nullptr, nullptr);
    PETSC_STDOUT = stderr; // standard output belongs to results
    try {
        communicator.agree(code != 0 ? std::optional<std::string>("PETSc could not be started")
                                     : std::nullopt);
    } catch (...) {
        runtime.world.reset();
        throw;
    }
    check(PetscPushErrorHandler(keep_error, nullptr));
    finalize_before_mpi();
}

/// Read by PETSc in the course of a solve or at its end.
bool is_read_late(const std::string& name) {
    constexpr std::array parts = {"view", "reason", "log", "info", "test", "monitor"};
    return std::any_of(parts.begin(), parts.end(),
                       [&](const char* part) { return name.find(part) != std::string::npos; });
}

/// PETSc keeps no list of its options: the ones a user of this layer is likely to mean.
constexpr std::array known_options = {"-ksp_converged_reason",
                                      "-ksp_max_it",
                                      "-ksp_monitor",
                                      "-ksp_norm_type",
                                      "-ksp_rtol",
                                      "-ksp_type",
                                      "-ksp_view",
                                      "-linear_ksp_max_it",
                                      "-linear_ksp_monitor",
                                      "-linear_ksp_rtol",
                                      "-linear_pc_type",
                                      "-log_view",
                                      "-pc_type",
                                      "-tao_bnk_as_tol",
                                      "-tao_bnk_as_type",
                                      "-tao_bnk_epsilon",
                                      "-tao_bnk_init_type",
                                      "-tao_bnk_max_cg_its",
                                      "-tao_bnk_max_radius",
                                      "-tao_bnk_min_radius",
                                      "-tao_bnk_update_type",
                                      "-tao_converged_reason",
                                      "-tao_fmin",
                                      "-tao_gatol",
                                      "-tao_grtol",
                                      "-tao_gttol",
                                      "-tao_max_funcs",
                                      "-tao_max_it",
                                      "-tao_monitor",
                                      "-tao_trust0",
                                      "-tao_type",
                                      "-tao_view"};

} // namespace

void check(PetscErrorCode code) {
    if (code == 0)
        return;
    std::string text = std::exchange(runtime.error, {});
    if (text.empty())
        text = fmt::format("return code {}", static_cast<int>(code));
    throw Error("PETSc: " + text);
}

void forget_error() {
    runtime.error.clear();
}

Layout make_layout(const mpi::Communicator& communicator, std::size_t local) {
    const std::vector<std::uint64_t> counts = communicator.allgather(std::uint64_t{local});
    std::uint64_t first = 0;
    std::uint64_t total = 0;
    for (std::size_t r = 0; r < counts.size(); ++r) {
        if (r == static_cast<std::size_t>(communicator.rank()))
            first = total;
        total += counts[r];
    }
    if (total > static_cast<std::uint64_t>(std::numeric_limits<PetscInt>::max()))
        throw Error(fmt::format("PETSc: a vector of {} entries is longer than this build's index "
                                "type allows ({})",
                                total, std::numeric_limits<PetscInt>::max()));
    return {static_cast<PetscInt>(local), static_cast<PetscInt>(first),
            static_cast<PetscInt>(total)};
}

Session::Impl::Impl(const mpi::Communicator& communicator, std::vector<Option> all,
                    ErrorTrace with_trace)
    : options(std::move(all)), trace(with_trace) {
    if (!runtime.world) {
        start(communicator, options);
        for (Option& option : options) {
            PetscBool used = PETSC_FALSE;
            check(PetscOptionsUsed(nullptr, option.name.c_str() + 1, &used));
            option.used = used == PETSC_TRUE;
        }
        return;
    }
    int relation = MPI_UNEQUAL;
    MPI_Comm_compare(runtime.world->handle(), communicator.handle(), &relation);
    communicator.agree(
        relation == MPI_IDENT || relation == MPI_CONGRUENT
            ? std::nullopt
            : std::optional<std::string>("PETSc was started on other ranks than this session's"));
}

const Session::Impl::Option* Session::Impl::find(const std::string& name) const {
    const auto found = std::find_if(options.begin(), options.end(),
                                    [&](const Option& option) { return option.name == name; });
    return found == options.end() ? nullptr : &*found;
}

std::vector<std::string> Session::Impl::unused() const {
    std::vector<std::string> names;
    for (const Option& option : options)
        if (!option.used)
            names.push_back(option.name);
    return names;
}

void Session::Impl::require_used(bool after_solve) const {
    std::string text;
    for (const std::string& name : unused()) {
        if (!after_solve && is_read_late(name))
            continue;
        const std::string near =
            nearest_names(name, {known_options.begin(), known_options.end()}, 1).front();
        if (!text.empty())
            text += "; ";
        text += fmt::format("{} is unknown or has no effect here", name);
        if (edit_distance(near, name) <= 3 && near != name)
            text += fmt::format(" (did you mean {}?)", near);
    }
    if (!text.empty())
        throw Error("PETSc options: " + text);
}

OptionScope::OptionScope(Session::Impl& session, const OptionValues& defaults,
                         const OptionValues& overrides)
    : session_(session) {
    runtime.trace = session.trace;
    runtime.error.clear();
    OptionValues values = defaults;
    for (const auto& option : session.options)
        values[option.name] = option.value;
    for (const auto& [name, value] : overrides)
        values[name] = value;
    check(PetscOptionsCreate(&database_));
    for (const auto& [name, value] : values)
        check(
            PetscOptionsSetValue(database_, name.c_str(), value.empty() ? nullptr : value.c_str()));
    check(PetscOptionsPush(database_));
}

OptionScope::~OptionScope() {
    note_used();
    PetscOptionsPop();
    PetscOptionsDestroy(&database_);
}

void OptionScope::note_used() {
    for (auto& option : session_.options) {
        PetscBool used = PETSC_FALSE;
        if (PetscOptionsUsed(database_, option.name.c_str() + 1, &used) == 0 && used == PETSC_TRUE)
            option.used = true;
    }
}

Session::Session(const mpi::Communicator& communicator, std::string_view options,
                 ErrorTrace trace) {
    auto parsed = communicator.collectively([&] { return parse(options); });
    impl_ = std::make_shared<Impl>(communicator, std::move(parsed), trace);
}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

std::vector<std::string> Session::unused_options() const {
    return impl_->unused();
}

void Session::require_used_options(bool after_solve) const {
    impl_->require_used(after_solve);
}

} // namespace xrdct::petsc
