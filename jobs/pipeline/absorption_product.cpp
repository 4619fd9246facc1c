// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/absorption_product.hpp"

#include "jobs/pipeline/registry.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"

namespace xrdct::pipeline {

namespace {

NeededProduct absorption_need() {
    return {"absorption", "the job's absorption.method needs the absorption stage's product",
            "the scan, the phases or the absorption"};
}

} // namespace

AbsorptionProduct read_absorption_product(const settings::Job& job) {
    const auto need = absorption_need();
    check_product(job, need);
    const auto file = hdf5::File::open(product_path(job, need.stage), hdf5::Access::read_only);
    const auto stage = file.root().open_group("entry/absorption");
    AbsorptionProduct product;
    product.transmission = stage.open_dataset("rays/transmission").read_all<float>();
    product.mu = stage.open_dataset("attenuation/mu").read_all<float>();
    product.constant = nexus::read_value(stage, "amount_constant");
    return product;
}

std::vector<NeededProduct> needed_absorption(const settings::Job& job) {
    if (job.absorption.method != settings::AbsorptionMethod::phases)
        return {};
    return {absorption_need()};
}

std::optional<double> read_amount_constant(const settings::Job& job,
                                           const mpi::Communicator& communicator) {
    if (job.absorption.method == settings::AbsorptionMethod::none)
        return {};
    return communicator.collectively([&]() -> std::optional<double> {
        if (!std::filesystem::exists(product_path(job, absorption_need().stage)))
            return {};
        return read_absorption_product(job).constant;
    });
}

} // namespace xrdct::pipeline
