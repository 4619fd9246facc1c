// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/dlsr_observer.hpp"

#include "jobs/program/run_record.hpp"
#include "jobs/program/stop_request.hpp"

#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace xrdct::pipeline {

DlsrObserver::DlsrObserver(const mpi::Communicator& communicator, program::Timings& timings,
                           std::filesystem::path path, DlsrOrigin origin)
    : communicator_(communicator), timings_(timings), path_(std::move(path)),
      origin_(std::move(origin)) {}

void DlsrObserver::remove_checkpoint() const {
    std::error_code code;
    if (communicator_.is_root())
        std::filesystem::remove(path_, code);
}

void DlsrObserver::begin(std::string_view title, std::size_t total) {
    progress_.emplace(std::string(title), total, communicator_.is_root());
}

void DlsrObserver::progress(std::size_t done) {
    if (progress_)
        progress_->update(done);
}

void DlsrObserver::end(std::string_view remark) {
    if (progress_)
        progress_->finish(std::string(remark));
    progress_.reset();
}

void DlsrObserver::step(long iteration, double residual) {
    if (auto* record = program::RunRecord::current())
        record->iterate(iteration, residual);
}

void DlsrObserver::log(std::string_view line) {
    fmt::print(stderr, "dlsr: {}\n", line);
}

void DlsrObserver::lap(std::string_view part) {
    timings_.lap(std::string(part));
}

void DlsrObserver::keep(const dlsr::State& state) {
    communicator_.collectively([&] {
        if (communicator_.is_root())
            write_dlsr_checkpoint(path_, origin_, state);
    });
}

void DlsrObserver::stop_point() {
    program::stop_if_asked(communicator_);
}

} // namespace xrdct::pipeline
