// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace xrdct::bench {

/// What is measured and predicted.
enum class Stage {
    fbp,          ///< all-to-all from rotations to channels, filtered back-projection, total image
    fits,         ///< voxel-wise Rietveld fits, tiles dealt dynamically, maps gathered
    product,      ///< one product with the DLSR's Gauss–Newton matrix
    gradient,     ///< objective and gradient at a new point
    linearise,    ///< at the point of the last gradient, preconditioner included
    precondition, ///< one application of the preconditioner
    step,         ///< gradient, linearisation, conjugate gradients and trial point
    write,        ///< the scan, by all ranks into one file
    read,         ///< the same back
};
std::string_view to_string(Stage stage);

/// What of the DLSR is shared out over the ranks. `rotations` is what the program does.
enum class Decomposition {
    rotations, ///< whole rotations
    rays,      ///< parts of rotations
    patterns,  ///< coefficients of the patterns: every rank projects everything
};
std::string_view to_string(Decomposition decomposition);

/// Ranks and how many of them share a node's memory and work on it as a team (mpi::NodeTeam); the
/// last node has what is left over.
struct Ranks {
    std::size_t count = 1, per_node = 1;

    std::size_t nodes() const { return (count + per_node - 1) / per_node; }
    std::size_t team() const { return count < per_node ? count : per_node; } ///< the largest
    /// Those with others on their node.
    std::size_t sharing() const {
        return per_node == 1 || count == 1 ? 0 : count - (count % per_node == 1 ? 1 : 0);
    }
};

/// Calls of a Gauss–Newton step.
struct StepCalls {
    std::size_t gradients = 2, objectives = 0, linearisations = 1, products = 31,
                preconditions = 32;
};

/// Numbers of a problem from which its costs follow.
struct Workload {
    std::size_t rotations = 0, translations = 0, channels = 0;
    std::size_t pixels = 0; ///< per side of the image
    double view_pixels = 0; ///< in the field of view
    // DLSR
    std::size_t unknowns = 0, globals = 0, basis = 0; ///< basis: coefficients of a pattern
    std::size_t table_rows = 0;     ///< numbers that the tables and their derivatives are made of
    std::size_t block_unknowns = 0; ///< of all voxels' blocks
    double block_entries = 0;       ///< of their triangular factors
    std::size_t fields = 0;         ///< filtered by the preconditioner
    std::size_t parts = 0;          ///< of the basis, all with voxels
    std::size_t families = 0;       ///< parts of more than eight lanes, which are condensed
    /// Numbers that the voxels' lanes are projected from; of condensed products.
    double coefficients = 0, condensed_coefficients = 0;
    /// Floating-point operations and bytes of one rotation in a product, as condensed, and in a
    /// gradient (Operator::cost()).
    double product_projection = 0, product_tables = 0, product_bytes = 0;
    double gradient_flops = 0, gradient_bytes = 0;
    // Voxel fits
    std::size_t fits = 0, tiles = 1, largest_tile = 1, quantities = 0; ///< tile: a row of the image
    // FBP
    std::size_t channels_per_pass = 32; ///< and rank
    std::size_t exchange_buffer = 0;    ///< Redistribution's, bytes
};

/// A call that exchanges, as often as `count` says. Bytes are payload per call, means over the
/// ranks that take part (see mpi::Traffic).
struct Exchange {
    enum class Kind { reduce, gather_all, all_to_all, gather, broadcast, barrier, one_sided };
    enum class Among {
        all,     ///< ranks
        leaders, ///< one rank of every node
        node,    ///< the ranks of a node, on all nodes at once
    };
    Kind kind = Kind::barrier;
    double sent = 0, received = 0;
    double count = 1;         ///< of a one-sided operation: mean over the ranks
    double root_received = 0; ///< gather only
    Among among = Among::all;
};

/// Counts of one stage.
struct Counts {
    double flops = 0;              ///< of the rank with most work; 0: not counted
    double bytes = 0;              ///< from and to memory, likewise
    double sent = 0, received = 0; ///< payload, mean over the ranks
    double calls = 0;              ///< collective calls of a node's leader
    double one_sided = 0;          ///< mean over the ranks
    double written = 0, read = 0;  ///< of files, mean over the ranks
};

/// The exchanges of a stage. `root_share`: part of the voxel fits that rank 0 makes (the deal is
/// dynamic); negative: as many as the others. Throws Error for 0 ranks or 0 per node.
std::vector<Exchange> exchanges(const Workload& work, Stage stage, const Ranks& ranks,
                                const StepCalls& step = {}, double root_share = -1);
Counts count(const Workload& work, Stage stage, const Ranks& ranks, const StepCalls& step = {},
             double root_share = -1);

/// A machine, per rank unless said otherwise.
struct Machine {
    double flop_rate = 0;         ///< single-precision peak [1/s]
    double memory_bandwidth = 0;  ///< triad with all ranks at work [B/s]
    double network_bandwidth = 0; ///< into and out of a node at once [B/s]
    double latency = 0;           ///< of a message between nodes [s]
    double node_latency = 0;      ///< of one within a node [s]
    double file_bandwidth = 0;    ///< of one rank [B/s]
    double file_system = 0;       ///< of all ranks together [B/s]
};

/// Seconds of the stages' parts on one core, measured.
struct Rates {
    Machine machine;             ///< on which they were measured
    double product_rotation = 0; ///< of one rotation of a product
    double product_tables = 0;   ///< of this, the products with the tables of patterns
    double product_fixed = 0;    ///< of a product, whatever the rotations
    double gradient_rotation = 0, gradient_fixed = 0;
    double linearise_rotation = 0, linearise_fixed = 0;
    double precondition_field = 0, precondition_blocks = 0;
    /// Of what a gradient takes whatever the rotations: the rows of the tables of patterns, and
    /// the tables made of them.
    double table_rows = 0, tables = 0;
    double condense = 0; ///< of linearise_fixed
    double fbp_channel = 0;
    double fit = 0;
    /// Bytes without rays: of what a node has once, of every rank.
    double memory_node = 0, memory_rank = 0;
};

/// Predicted seconds on the slowest rank.
struct Time {
    double compute = 0;  ///< shared out over all ranks
    double node = 0;     ///< over those of a node
    double repeated = 0; ///< done by every rank
    double exchange = 0;
    double file = 0;
    double total() const { return compute + node + repeated + exchange + file; }
};

/// Time of an exchange: the better of recursive doubling and halving with doubling for sums,
/// recursive doubling for gathering (Thakur, Rabenseifner, Gropp, Int. J. High Perform. Comput.
/// Appl. 19, 49 (2005)), pairwise or Bruck's exchange for all-to-all. All ranks exchange within the
/// nodes, through memory (written and read), and between these; a leader has its node's network
/// alone.
double seconds(const Exchange& exchange, const Ranks& ranks, const Machine& machine);

/// Predicts one stage of one slice. Times that are bound by arithmetic change with the ratio of
/// peaks, what the ranks of a node share or repeat with that of the memory bandwidths. Every rank
/// zeroes its own sums over the voxels and reads its share of all members'; it makes the tables of
/// patterns and the condensed lanes, as if nothing of these were shared.
Time predict(const Workload& work, const Rates& rates, const Machine& machine, Stage stage,
             const Ranks& ranks, Decomposition by = Decomposition::rotations,
             const StepCalls& step = {});

/// A whole slice: read, FBP, fits and `steps` Gauss–Newton steps.
Time predict_slice(const Workload& work, const Rates& rates, const Machine& machine,
                   const Ranks& ranks, Decomposition by, const StepCalls& step, std::size_t steps);
/// Bytes of a rank in the DLSR, its part of what its node has once included.
double predict_memory(const Workload& work, const Rates& rates, const Ranks& ranks);

/// S slices on P ranks in groups of equal size, each group a slice at a time. Groups smaller than a
/// node are teams of their own.
struct StackPrediction {
    std::size_t groups = 1, ranks_per_group = 1;
    double seconds = 0;
    double efficiency = 0; ///< against one rank for all slices
};
/// The best size of the groups whose ranks do not need more than `memory` bytes each (0: no
/// limit).
StackPrediction predict_stack(const Workload& work, const Rates& rates, const Machine& machine,
                              const Ranks& ranks, std::size_t slices, const StepCalls& step,
                              std::size_t steps, double memory = 0);

} // namespace xrdct::bench
