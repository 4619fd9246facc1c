// SPDX-License-Identifier: BSD-3-Clause
#include "support/program.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace xrdct::test {

ProcessResult run_process(const std::vector<std::string>& command, double timeout,
                          const std::filesystem::path& folder,
                          const std::function<bool()>& kill_when) {
    std::array<int, 2> out{}, err{};
    if (pipe(out.data()) != 0 || pipe(err.data()) != 0)
        throw std::runtime_error("pipe failed");
    const auto start = std::chrono::steady_clock::now();
    const pid_t child = fork();
    if (child < 0)
        throw std::runtime_error("fork failed");
    if (child == 0) {
        setpgid(0, 0);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        for (const int fd : {out[0], out[1], err[0], err[1]})
            close(fd);
        const int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        if (!folder.empty() && chdir(folder.c_str()) != 0)
            _exit(126);
        std::vector<char*> arguments;
        arguments.reserve(command.size() + 1);
        for (const auto& word : command)
            arguments.push_back(const_cast<char*>(word.c_str()));
        arguments.push_back(nullptr);
        execvp(arguments[0], arguments.data());
        _exit(127);
    }
    close(out[1]);
    close(err[1]);

    ProcessResult result;
    std::array<pollfd, 2> waits{{{out[0], POLLIN, 0}, {err[0], POLLIN, 0}}};
    std::array<std::string*, 2> texts{&result.output, &result.errors};
    int open_pipes = 2;
    bool killed = false;
    const auto elapsed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    while (open_pipes > 0) {
        if (elapsed() > timeout && !result.timed_out) {
            result.timed_out = true;
            kill(-child, SIGKILL);
        }
        if (!killed && kill_when && kill_when()) {
            killed = true;
            kill(-child, SIGKILL);
        }
        if (poll(waits.data(), waits.size(), 100) < 0 && errno != EINTR)
            break;
        for (std::size_t i = 0; i < waits.size(); ++i) {
            if (waits[i].fd < 0 || !(waits[i].revents & (POLLIN | POLLHUP)))
                continue;
            std::array<char, 4096> buffer{};
            const ssize_t n = read(waits[i].fd, buffer.data(), buffer.size());
            if (n > 0) {
                texts[i]->append(buffer.data(), static_cast<std::size_t>(n));
            } else {
                close(waits[i].fd);
                waits[i].fd = -1;
                --open_pipes;
            }
        }
    }
    int status = 0;
    waitpid(child, &status, 0);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.seconds = elapsed();
    return result;
}

ProcessResult run_xrdct(const std::vector<std::string>& arguments, int ranks, double timeout,
                        const std::filesystem::path& folder,
                        const std::function<bool()>& kill_when) {
    const char* program = std::getenv("XRDCT_PROGRAM");
    if (!program)
        throw std::runtime_error("XRDCT_PROGRAM is not set");
    std::vector<std::string> command;
    if (ranks > 0) {
        const char* launcher = std::getenv("XRDCT_MPIRUN");
        if (!launcher)
            throw std::runtime_error("XRDCT_MPIRUN is not set");
        std::string word;
        for (const char* c = launcher;; ++c) {
            if (*c == '|' || *c == '\0') {
                command.push_back(word);
                word.clear();
                if (*c == '\0')
                    break;
            } else {
                word += *c;
            }
        }
        command.push_back(std::to_string(ranks));
    }
    command.emplace_back(program);
    command.insert(command.end(), arguments.begin(), arguments.end());
    return run_process(command, timeout, folder, kill_when);
}

} // namespace xrdct::test
