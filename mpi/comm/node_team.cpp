// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/node_team.hpp"

#include "mpi/comm/decomposition.hpp"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/shm.h>

namespace xrdct::mpi {

namespace {

Error memory_error(const char* what) {
    return Error(
        fmt::format("memory of the node cannot be shared: {}: {}", what, std::strerror(errno)));
}

void* attach(int segment) {
    void* memory = ::shmat(segment, nullptr, 0);
    if (memory == reinterpret_cast<void*>(-1)) // NOLINT(performance-no-int-to-ptr): shmat's own
        throw memory_error("shmat");
    return memory;
}

/// Memory of `bytes` that the ranks of `node` share. Collective.
std::shared_ptr<void> map_shared(const Communicator& node, std::size_t bytes) {
    int segment = -1;
    std::shared_ptr<void> memory;
    const auto own = [](void* attached) {
        return std::shared_ptr<void>(attached, [](void* p) { ::shmdt(p); });
    };
    node.collectively([&] {
        if (!node.is_root())
            return;
        segment = ::shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
        if (segment < 0)
            throw memory_error("shmget");
        // Linux lets others attach what is marked to go with the last that is attached.
        try {
            memory = own(attach(segment));
        } catch (...) {
            ::shmctl(segment, IPC_RMID, nullptr);
            throw;
        }
        ::shmctl(segment, IPC_RMID, nullptr);
    });
    node.broadcast(segment);
    node.collectively([&] {
        if (!node.is_root())
            memory = own(attach(segment));
    });
    return memory;
}

/// Whether what one rank writes there is what the others read.
bool can_share(const Communicator& node) {
    try {
        const auto memory = map_shared(node, sizeof(std::uint64_t));
        auto* word = static_cast<std::uint64_t*>(memory.get());
        constexpr std::uint64_t token = 0x7872646374;
        if (node.is_root())
            *word = token;
        node.barrier();
        return node.allreduce(static_cast<std::int64_t>(*word == token), Reduction::min) == 1;
    } catch (const Error&) {
        return false; // on all of them
    }
}

Communicator node_of(const Communicator& communicator, std::size_t most) {
    const auto sharing = communicator.split_shared();
    const std::size_t each = std::max<std::size_t>(most, 1);
    auto node = sharing.split(static_cast<int>(static_cast<std::size_t>(sharing.rank()) / each),
                              sharing.rank());
    const bool shared = node.size() == 1 || can_share(node);
    // All calls of split() are made by all ranks of what is split.
    return shared ? std::move(node) : node.split(node.rank(), 0);
}

} // namespace

NodeTeam::NodeTeam(const Communicator& communicator, std::size_t most)
    : communicator_(communicator), node_(node_of(communicator, most)) {
    const auto leader_of = communicator.allgather(static_cast<std::int64_t>([&] {
        auto leader = static_cast<std::int64_t>(communicator.rank());
        node_.broadcast(leader);
        return leader;
    }()));
    std::vector<std::ptrdiff_t> team_of(leader_of.size(), -1);
    for (std::size_t r = 0; r < leader_of.size(); ++r) {
        auto& team = team_of[static_cast<std::size_t>(leader_of[r])];
        if (team < 0) {
            team = static_cast<std::ptrdiff_t>(members_.size());
            members_.emplace_back();
        }
        members_[static_cast<std::size_t>(team)].push_back(r);
    }
    if (teams() == 1)
        return;
    auto leaders = communicator.split(node_.is_root() ? 0 : 1, communicator.rank());
    if (node_.is_root())
        leaders_ = std::move(leaders);
}

NodeTeam::~NodeTeam() = default;

std::shared_ptr<void> NodeTeam::allocate(std::size_t bytes) const {
    return size() == 1 ? SharedMemoryTeam::allocate(bytes)
                       : map_shared(node_, std::max<std::size_t>(bytes, 1));
}

void NodeTeam::run_and_sync(const std::function<void()>& work) const {
    if (size() == 1)
        return work();
    node_.collectively([&] {
        work();
        std::atomic_thread_fence(std::memory_order_seq_cst);
    });
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

void NodeTeam::gather(std::span<const double> own, std::span<double> whole) const {
    const auto ranks = static_cast<std::size_t>(communicator_.size());
    const auto range = [&](std::size_t rank) { return block_range(whole.size(), ranks, rank); };
    barrier(); // nobody reads any more what was there
    run_and_sync([&] {
        const auto mine = range(static_cast<std::size_t>(communicator_.rank()));
        if (own.size() != mine.size())
            throw Error("a share of another length than the rank's");
        std::copy(own.begin(), own.end(), whole.begin() + static_cast<std::ptrdiff_t>(mine.begin));
    });
    if (teams() == 1)
        return;
    if (leaders_) {
        std::vector<double> packed;
        const auto me = static_cast<std::size_t>(leaders_->rank());
        for (const std::size_t r : members_[me])
            packed.insert(packed.end(), whole.begin() + static_cast<std::ptrdiff_t>(range(r).begin),
                          whole.begin() + static_cast<std::ptrdiff_t>(range(r).end));
        const auto all = leaders_->allgather(packed);
        auto from = all.begin();
        for (const auto& team : members_)
            for (const std::size_t r : team) {
                std::copy_n(from, range(r).size(),
                            whole.begin() + static_cast<std::ptrdiff_t>(range(r).begin));
                from += static_cast<std::ptrdiff_t>(range(r).size());
            }
    }
    barrier();
}

} // namespace xrdct::mpi
