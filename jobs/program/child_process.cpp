// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/child_process.hpp"

#include "base/error.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

extern char** environ; // NOLINT: POSIX

namespace xrdct::program {

namespace {

// By hand: Boost.Process of Debian 12 brings asio and links boost_filesystem for what is 80 lines.

/// The ends of a pipe, closed with it.
class Pipe {
  public:
    explicit Pipe(const std::string& name) {
        if (pipe2(ends_.data(), O_CLOEXEC) != 0)
            throw Error(fmt::format("{}: {}", name, std::strerror(errno)));
    }
    ~Pipe() {
        close(ends_[0]);
        close_writer();
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    int reader() const { return ends_[0]; }
    int writer() const { return ends_[1]; }
    void close_writer() {
        if (ends_[1] >= 0)
            close(ends_[1]);
        ends_[1] = -1;
    }

  private:
    std::array<int, 2> ends_{-1, -1};
};

class FileActions {
  public:
    FileActions() { posix_spawn_file_actions_init(&actions_); }
    ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
    FileActions(const FileActions&) = delete;
    FileActions& operator=(const FileActions&) = delete;
    posix_spawn_file_actions_t* get() { return &actions_; }

  private:
    posix_spawn_file_actions_t actions_{};
};

/// errno of the start; 0: `child` runs.
int start(const std::vector<std::string>& words, const std::filesystem::path& folder,
          const Pipe& out, const Pipe& err, pid_t& child) {
    FileActions actions;
    posix_spawn_file_actions_addopen(actions.get(), 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(actions.get(), out.writer(), 1);
    posix_spawn_file_actions_adddup2(actions.get(), err.writer(), 2);
    if (!folder.empty())
        posix_spawn_file_actions_addchdir_np(actions.get(), folder.c_str());
    // The child changes its folder first: a relative path would no longer lead to the program.
    std::vector<std::string> own = words;
    if (!folder.empty() && own.at(0).find('/') != std::string::npos)
        own[0] = std::filesystem::absolute(own[0]).string();
    std::vector<char*> arguments;
    for (std::string& word : own)
        arguments.push_back(word.data());
    arguments.push_back(nullptr);
    return posix_spawnp(&child, arguments.at(0), actions.get(), nullptr, arguments.data(), environ);
}

/// Reads what the child writes until it closes both pipes; kills it when its time is over.
void read_until_end(pid_t child, const Pipe& out, const Pipe& err, double timeout,
                    ChildOutcome& outcome) {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::milliseconds(std::llround(1e3 * timeout));
    std::array<pollfd, 2> waits{{{out.reader(), POLLIN, 0}, {err.reader(), POLLIN, 0}}};
    std::array<std::string*, 2> texts{&outcome.output, &outcome.errors};
    while (waits[0].fd >= 0 || waits[1].fd >= 0) {
        if (timeout > 0 && !outcome.timed_out && std::chrono::steady_clock::now() > end) {
            outcome.timed_out = true;
            kill(child, SIGKILL);
        }
        if (poll(waits.data(), waits.size(), timeout > 0 ? 200 : -1) < 0 && errno != EINTR)
            break;
        for (std::size_t i = 0; i < waits.size(); ++i) {
            if (waits[i].fd < 0 || !(waits[i].revents & (POLLIN | POLLHUP)))
                continue;
            std::array<char, 65536> buffer{};
            const ssize_t n = read(waits[i].fd, buffer.data(), buffer.size());
            if (n > 0)
                texts[i]->append(buffer.data(), static_cast<std::size_t>(n));
            else
                waits[i].fd = -1;
        }
    }
}

} // namespace

ChildOutcome run_child(const std::vector<std::string>& words, const ChildOptions& options) {
    ChildOutcome outcome;
    Pipe out(words.at(0)), err(words.at(0));
    pid_t child = 0;
    outcome.start_error = start(words, options.folder, out, err, child);
    out.close_writer();
    err.close_writer();
    if (outcome.start_error != 0) {
        outcome.missing = outcome.start_error == ENOENT;
        outcome.code = 127;
        outcome.errors = std::strerror(outcome.start_error);
        return outcome;
    }
    read_until_end(child, out, err, options.timeout, outcome);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) {
            outcome.start_error = errno;
            return outcome;
        }
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return outcome;
}

} // namespace xrdct::program
