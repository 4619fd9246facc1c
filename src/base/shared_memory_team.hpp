// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace xrdct {

/// Processes that share memory, so that what each of them needs whole exists once and is made
/// together. This one is a team of a single process; mpi::NodeTeam has the ranks of a node.
/// Calls marked collective must be made by all members in the same order.
class SharedMemoryTeam {
  public:
    SharedMemoryTeam() = default;
    virtual ~SharedMemoryTeam() = default;
    SharedMemoryTeam(const SharedMemoryTeam&) = delete;
    SharedMemoryTeam& operator=(const SharedMemoryTeam&) = delete;

    static const SharedMemoryTeam& single() {
        static const SharedMemoryTeam team;
        return team;
    }
    virtual std::size_t rank() const { return 0; }
    virtual std::size_t size() const { return 1; }

    /// `bytes` of zeros that all members see, aligned to 64; they go with the last pointer of each
    /// member. Throws Error or std::bad_alloc on all members. Collective.
    virtual std::shared_ptr<void> allocate(std::size_t bytes) const {
        constexpr std::align_val_t alignment{64};
        void* memory = ::operator new(std::max<std::size_t>(bytes, 1), alignment);
        std::memset(memory, 0, bytes);
        return {memory, [](void* p) { ::operator delete (p, std::align_val_t{64}); }};
    }
    /// Runs `work` on this member and waits for the others: what any of them wrote before is there
    /// for all of them afterwards. When it throws on a member, all throw. `work` makes no
    /// collective calls. Collective.
    virtual void run_and_sync(const std::function<void()>& work) const { work(); }

    /// Waits for the other members: what any of them wrote before is there for all. Collective.
    void barrier() const {
        run_and_sync([] {});
    }

    /// This member's part [first, second) of n items; parts begin at multiples of 16.
    std::pair<std::size_t, std::size_t> share(std::size_t n) const {
        const std::size_t each = ((n + size() - 1) / size() + 15) / 16 * 16;
        const std::size_t begin = std::min(n, rank() * each);
        return {begin, std::min(n, begin + each)};
    }
    /// Whether the i-th of some larger items is this member's.
    bool owns(std::size_t i) const { return i % size() == rank(); }
};

/// Numbers in the memory of a team. Copies refer to the same numbers.
template <class T>
class SharedArray {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    SharedArray() = default;
    /// A copy of `values`, the same on all members. Collective.
    SharedArray(const SharedMemoryTeam& team, std::span<const T> values) {
        resize(team, values.size());
        team.run_and_sync([&] {
            const auto [first, last] = team.share(values.size());
            std::copy(values.data() + first, values.data() + last, data() + first);
        });
    }
    /// n zeros; an array of n stays as it is. Collective over the team.
    void resize(const SharedMemoryTeam& team, std::size_t n) {
        if (n == size_)
            return;
        memory_.reset();
        size_ = 0;
        if (n > 0)
            memory_ = team.allocate(n * sizeof(T));
        size_ = n;
    }
    void clear() {
        memory_.reset();
        size_ = 0;
    }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T* data() { return static_cast<T*>(memory_.get()); }
    const T* data() const { return static_cast<const T*>(memory_.get()); }
    T& operator[](std::size_t i) { return data()[i]; }
    const T& operator[](std::size_t i) const { return data()[i]; }
    T* begin() { return data(); }
    T* end() { return data() + size_; }
    const T* begin() const { return data(); }
    const T* end() const { return data() + size_; }
    operator std::span<const T>() const { return {data(), size_}; }
    std::span<T> span() { return {data(), size_}; }
    std::span<const T> span() const { return {data(), size_}; }

  private:
    std::shared_ptr<void> memory_;
    std::size_t size_ = 0;
};

} // namespace xrdct
