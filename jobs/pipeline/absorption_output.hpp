// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "absorption/body_absorption.hpp"
#include "jobs/pipeline/scan.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "rietveld/model/pattern_model.hpp"

namespace xrdct::pipeline {

/// The groups "attenuation" and "rays" of the absorption stage's product. Serial, as the other.
void write_attenuation(hdf5::Group& stage, const Scan& scan,
                       const absorption::SelfAbsorptionResult& result);

/// What the phases tell: the constant of their amounts, their maps and path lengths, the ring and
/// the convergence.
void write_phase_absorption(hdf5::Group& stage, const Scan& scan,
                            const rietveld::PatternModel& model,
                            const absorption::SelfAbsorptionResult& result);

/// The group "body": what was found about a body without a can.
void write_body(hdf5::Group& stage, const absorption::BodyFindings& body);

} // namespace xrdct::pipeline
