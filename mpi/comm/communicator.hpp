// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/error.hpp"

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace xrdct::mpi {

enum class Reduction { sum, min, max };

namespace detail {
template <class T>
struct IsSpan : std::false_type {};
template <class T, std::size_t N>
struct IsSpan<std::span<T, N>> : std::true_type {};
} // namespace detail

/// What travels between ranks as bytes: numbers and plain structs of numbers (all ranks run the
/// same program).
template <class T>
concept Transferable =
    std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !detail::IsSpan<T>::value;

/// Move-only owner of an MPI communicator. world() and self() are not owned; duplicate() and
/// split() are, and are freed by the destructor (collective: all ranks of the communicator must
/// destroy it, and before the Environment goes).
///
/// Every member marked collective must be called by all ranks of the communicator in the same
/// order. Counts larger than INT_MAX are cut into pieces.
class Communicator {
  public:
    static Communicator world();
    static Communicator self();

    Communicator(Communicator&& other) noexcept;
    Communicator& operator=(Communicator&& other) noexcept;
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;
    ~Communicator();

    /// Same ranks, separate message space. Collective.
    Communicator duplicate() const;
    /// Ranks of equal colour (not negative) form one communicator, ordered by key, then by old
    /// rank. Collective.
    Communicator split(int color, int key) const;
    /// The ranks that share memory with this one (one node). Collective.
    Communicator split_shared() const;

    int rank() const { return rank_; }
    int size() const { return size_; }
    bool is_root() const { return rank_ == 0; }
    MPI_Comm handle() const { return handle_; }

    /// Collective.
    void barrier() const;
    /// The same, for ranks that wait long: they sleep and leave their core to others. Not counted
    /// as traffic. Collective.
    void sleeping_barrier() const;

    /// The values of rank `root` to all. Collective; spans must have the same length everywhere,
    /// strings and vectors are resized.
    template <Transferable T>
    void broadcast(std::span<T> values, int root = 0) const {
        broadcast_bytes(values.data(), values.size_bytes(), root);
    }
    template <Transferable T>
    void broadcast(T& value, int root = 0) const {
        broadcast_bytes(&value, sizeof(T), root);
    }
    template <Transferable T>
    void broadcast(std::vector<T>& values, int root = 0) const {
        std::uint64_t n = values.size();
        broadcast(n, root);
        values.resize(n);
        broadcast_bytes(values.data(), n * sizeof(T), root);
    }
    void broadcast(std::string& text, int root = 0) const;
    void broadcast(std::vector<std::string>& texts, int root = 0) const;

    /// Element-wise over the ranks, in place; every rank gets the result. Collective; the same
    /// length everywhere. min and max of NaN are unspecified: take NaN out first.
    void allreduce(std::span<double> values, Reduction operation) const;
    void allreduce(std::span<float> values, Reduction operation) const;
    void allreduce(std::span<std::int64_t> values, Reduction operation) const;
    double allreduce(double value, Reduction operation) const;
    float allreduce(float value, Reduction operation) const;
    std::int64_t allreduce(std::int64_t value, Reduction operation) const;

    /// As allreduce, the result on `root` only (the others' values are left as they are).
    /// Collective.
    void reduce(std::span<double> values, Reduction operation, int root = 0) const;
    void reduce(std::span<float> values, Reduction operation, int root = 0) const;
    void reduce(std::span<std::int64_t> values, Reduction operation, int root = 0) const;

    /// The ranks' values one after another in rank order, on `root` (empty elsewhere). Lengths may
    /// differ. Collective.
    template <Transferable T>
    std::vector<T> gather(std::span<const T> values, int root = 0) const {
        return gather_as<T>(values, root);
    }
    template <Transferable T>
    std::vector<T> gather(const std::vector<T>& values, int root = 0) const {
        return gather_as<T>(std::span<const T>(values), root);
    }
    /// One string of every rank, on `root`. Collective.
    std::vector<std::string> gather(const std::string& text, int root = 0) const;

    /// The ranks' values one after another in rank order, on every rank. Lengths may differ.
    /// Collective.
    template <Transferable T>
    std::vector<T> allgather(std::span<const T> values) const {
        return gather_as<T>(values, -1);
    }
    template <Transferable T>
    std::vector<T> allgather(const std::vector<T>& values) const {
        return gather_as<T>(std::span<const T>(values), -1);
    }
    template <Transferable T>
    std::vector<T> allgather(const T& value) const {
        return gather_as<T>(std::span<const T>(&value, 1), -1);
    }

    /// The inverse of gather: rank r gets counts[r] values of the root's array, in rank order.
    /// `counts` is the same on all ranks; `all` is read on the root only. Collective.
    template <Transferable T>
    std::vector<T> scatter(std::span<const T> all, std::span<const std::size_t> counts,
                           int root = 0) const {
        std::vector<T> own(counts[static_cast<std::size_t>(rank_)]);
        scatter_bytes(all.data(), all.size(), counts, sizeof(T), own.data(), root);
        return own;
    }

    /// Agreement: if any rank passes an error, all ranks throw Error with the message of the lowest
    /// rank that did (and say which rank it was, unless all failed). Collective.
    void agree(const std::optional<std::string>& error) const;

    /// Runs `work` on this rank, agrees on its outcome and returns its result: when it threw on any
    /// rank, all ranks throw the same Error. Error, std::bad_alloc and every other std::exception
    /// are caught. `work` must not itself make collective calls on which a failing rank would be
    /// missed, unless these agree before they throw. Collective.
    template <class F>
    auto collectively(F&& work) const -> std::invoke_result_t<F> {
        using Result = std::invoke_result_t<F>;
        std::optional<std::string> error;
        if constexpr (std::is_void_v<Result>) {
            try {
                std::forward<F>(work)();
            } catch (...) {
                error = describe_current_exception();
            }
            agree(error);
        } else {
            std::optional<Result> result;
            try {
                result.emplace(std::forward<F>(work)());
            } catch (...) {
                error = describe_current_exception();
            }
            agree(error);
            return std::move(*result);
        }
    }

    void broadcast_bytes(void* data, std::size_t bytes, int root) const;

  private:
    Communicator(MPI_Comm handle, bool owned);
    void release() noexcept;
    static std::string describe_current_exception();

    template <class T>
    std::vector<T> gather_as(std::span<const T> values, int root) const {
        const std::vector<std::uint64_t> counts = exchange_counts(values.size());
        std::uint64_t total = 0;
        for (const std::uint64_t count : counts)
            total += count;
        std::vector<T> all(root < 0 || root == rank_ ? total : 0);
        gather_bytes(values.data(), counts, sizeof(T), all.data(), root);
        return all;
    }
    std::vector<std::uint64_t> exchange_counts(std::uint64_t own) const;
    /// root < 0: to all ranks.
    void gather_bytes(const void* own, const std::vector<std::uint64_t>& counts, std::size_t size,
                      void* all, int root) const;
    void scatter_bytes(const void* all, std::size_t n, std::span<const std::size_t> counts,
                       std::size_t size, void* own, int root) const;

    MPI_Comm handle_;
    bool owned_;
    int rank_ = 0;
    int size_ = 1;
};

} // namespace xrdct::mpi
