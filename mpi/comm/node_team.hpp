// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "mpi/comm/communicator.hpp"

#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace xrdct::mpi {

/// The ranks of a communicator that share this one's memory, as a team. Their arrays are segments
/// of System V that are marked to go with the processes, however these end: they need no file
/// system, and neither a small /dev/shm nor a limit of the size of files is in their way. Where
/// memory cannot be shared (ranks in separate containers) every rank is a team of its own.
class NodeTeam final : public SharedMemoryTeam {
  public:
    /// At most `most` ranks share. Collective over the communicator, which must outlive the team.
    explicit NodeTeam(const Communicator& communicator,
                      std::size_t most = std::numeric_limits<std::size_t>::max());
    ~NodeTeam() override;
    NodeTeam(const NodeTeam&) = delete;
    NodeTeam& operator=(const NodeTeam&) = delete;

    std::size_t rank() const override { return static_cast<std::size_t>(node_.rank()); }
    std::size_t size() const override { return static_cast<std::size_t>(node_.size()); }
    std::shared_ptr<void> allocate(std::size_t bytes) const override;
    void run_and_sync(const std::function<void()>& work) const override;

    const Communicator& communicator() const { return communicator_; }
    /// Teams of the communicator.
    std::size_t teams() const { return members_.size(); }

    /// The ranks' values, rank r's those of block_range(whole.size(), ranks, r), to `whole`, an
    /// array of the team. Collective over the communicator; whole's length is the same everywhere.
    void gather(std::span<const double> own, std::span<double> whole) const;
    /// Adds arrays of the teams, element by element; all teams get the sum. Collective over the
    /// communicator.
    void sum(std::span<double> values) const { sum_over_teams(values); }
    void sum(std::span<float> values) const { sum_over_teams(values); }

  private:
    template <class T>
    void sum_over_teams(std::span<T> values) const {
        if (leaders_)
            leaders_->allreduce(values, Reduction::sum);
        if (teams() > 1)
            barrier();
    }

    const Communicator& communicator_;
    Communicator node_;
    std::optional<Communicator> leaders_;           ///< the teams' first ranks, on these
    std::vector<std::vector<std::size_t>> members_; ///< of every team: ranks of the communicator
};

} // namespace xrdct::mpi
