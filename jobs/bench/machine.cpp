// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/bench/machine.hpp"

#include "base/error.hpp"
#include "base/simd.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace xrdct::bench {

namespace {

/// Twelve chains of multiply-adds, as many as hide their latency.
double multiply_adds() {
    using namespace simd;
    constexpr std::size_t chains = 12, rounds = 2'000'000;
    Float8 sum[chains];
    for (std::size_t c = 0; c < chains; ++c)
        sum[c] = broadcast(static_cast<float>(c));
    const Float8 a = broadcast(0.999999F), b = broadcast(1e-6F);
    const double begin = now();
    for (std::size_t i = 0; i < rounds; ++i) {
        XRDCT_UNROLL(12)
        for (std::size_t c = 0; c < chains; ++c)
            sum[c] = sum[c] * a + b;
        // Keeps the compiler from folding rounds together.
        asm volatile("" ::: "memory");
    }
    const double seconds = now() - begin;
    float all = 0;
    for (const Float8& s : sum)
        all += s[0];
    volatile float kept = all;
    (void)kept;
    return 2.0 * simd::width * chains * rounds / seconds;
}

double triad() {
    constexpr std::size_t n = 4'000'000;
    std::vector<double> a(n, 0.0), b(n, 1.0), c(n, 2.0);
    const double begin = now();
    for (std::size_t i = 0; i < n; ++i)
        a[i] = b[i] + 3.0 * c[i];
    const double seconds = now() - begin;
    volatile double kept = a[n / 2];
    (void)kept;
    return 24.0 * n / seconds;
}

double file_rate(const std::filesystem::path& path) {
    const std::vector<char> block(std::size_t{1} << 20, 'x');
    constexpr int blocks = 64;
    const int file = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (file < 0)
        throw Error(fmt::format("{}: cannot be written", path.string()));
    const double begin = now();
    bool good = true;
    for (int i = 0; i < blocks && good; ++i)
        good = ::write(file, block.data(), block.size()) == static_cast<ssize_t>(block.size());
    good = ::fsync(file) == 0 && good;
    const double seconds = now() - begin;
    ::close(file);
    ::unlink(path.c_str());
    if (!good)
        throw Error(fmt::format("{}: cannot be written (is the disk full?)", path.string()));
    return static_cast<double>(block.size()) * blocks / seconds;
}

std::uint64_t status_value(const char* file, const std::string& key) {
    std::ifstream in(file);
    for (std::string word; in >> word;)
        if (word == key) {
            std::uint64_t value = 0;
            in >> value;
            return value;
        }
    return 0;
}

} // namespace

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

Machine measure_machine(const mpi::Communicator& communicator, const std::filesystem::path& folder,
                        bool files) {
    const auto slowest = [&](double rate) {
        return communicator.allreduce(rate, mpi::Reduction::min);
    };
    Machine machine;
    for (int i = 0; i < 3; ++i) {
        communicator.barrier();
        machine.flop_rate = std::max(machine.flop_rate, slowest(multiply_adds()));
        communicator.barrier();
        machine.memory_bandwidth = std::max(machine.memory_bandwidth, slowest(triad()));
    }
    if (files) {
        communicator.barrier();
        const double rate = communicator.collectively([&] {
            return file_rate(
                folder / fmt::format(".xrdct-bench-{}-{}", process_number(), communicator.rank()));
        });
        machine.file_bandwidth = slowest(rate);
        machine.file_system = machine.file_bandwidth * communicator.size();
    }
    return machine;
}

std::uint64_t peak_memory() {
    return 1024 * status_value("/proc/self/status", "VmHWM:");
}

void reset_peak_memory() {
    std::ofstream("/proc/self/clear_refs") << "5";
}

std::uint64_t file_traffic() {
    return status_value("/proc/self/io", "rchar:") + status_value("/proc/self/io", "wchar:");
}

int process_number() {
    return static_cast<int>(::getpid());
}

} // namespace xrdct::bench
