// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/communicator.hpp"

#include "mpi/comm/traffic.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <limits>
#include <thread>

namespace xrdct::mpi {

namespace {

/// Elements per MPI call; below INT_MAX, and small enough for transports that choke near 2 GiB.
constexpr std::size_t piece_bytes = std::size_t{1} << 30;

MPI_Op op_of(Reduction operation) {
    switch (operation) {
    case Reduction::sum:
        return MPI_SUM;
    case Reduction::min:
        return MPI_MIN;
    case Reduction::max:
        return MPI_MAX;
    }
    return MPI_OP_NULL;
}

template <class T>
MPI_Datatype type_of();
template <>
MPI_Datatype type_of<double>() {
    return MPI_DOUBLE;
}
template <>
MPI_Datatype type_of<float>() {
    return MPI_FLOAT;
}
template <>
MPI_Datatype type_of<std::int64_t>() {
    return MPI_INT64_T;
}

template <class T>
void allreduce_in_place(std::span<T> values, Reduction operation, MPI_Comm comm, int ranks) {
    constexpr std::size_t largest = piece_bytes / sizeof(T);
    for (std::size_t done = 0; done < values.size(); done += largest) {
        const auto n = static_cast<int>(std::min(largest, values.size() - done));
        MPI_Allreduce(MPI_IN_PLACE, values.data() + done, n, type_of<T>(), op_of(operation), comm);
        const auto bytes = static_cast<std::uint64_t>(n) * sizeof(T);
        detail::count_call(ranks, bytes, bytes);
    }
}

template <class T>
void reduce_in_place(std::span<T> values, Reduction operation, int root, int rank, MPI_Comm comm,
                     int ranks) {
    constexpr std::size_t largest = piece_bytes / sizeof(T);
    for (std::size_t done = 0; done < values.size(); done += largest) {
        const auto n = static_cast<int>(std::min(largest, values.size() - done));
        T* data = values.data() + done;
        MPI_Reduce(rank == root ? MPI_IN_PLACE : data, data, n, type_of<T>(), op_of(operation),
                   root, comm);
        const auto bytes = static_cast<std::uint64_t>(n) * sizeof(T);
        detail::count_call(ranks, rank == root ? 0 : bytes, rank == root ? bytes : 0);
    }
}

} // namespace

Communicator::Communicator(MPI_Comm handle, bool owned) : handle_(handle), owned_(owned) {
    MPI_Comm_rank(handle_, &rank_);
    MPI_Comm_size(handle_, &size_);
}

Communicator::Communicator(Communicator&& other) noexcept
    : handle_(other.handle_), owned_(std::exchange(other.owned_, false)), rank_(other.rank_),
      size_(other.size_) {}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
    if (this != &other) {
        release();
        handle_ = other.handle_;
        owned_ = std::exchange(other.owned_, false);
        rank_ = other.rank_;
        size_ = other.size_;
    }
    return *this;
}

Communicator::~Communicator() {
    release();
}

void Communicator::release() noexcept {
    if (owned_)
        MPI_Comm_free(&handle_);
    owned_ = false;
}

Communicator Communicator::world() {
    return {MPI_COMM_WORLD, false};
}
Communicator Communicator::self() {
    return {MPI_COMM_SELF, false};
}

Communicator Communicator::duplicate() const {
    MPI_Comm copy = MPI_COMM_NULL;
    MPI_Comm_dup(handle_, &copy);
    return {copy, true};
}

Communicator Communicator::split(int color, int key) const {
    std::optional<std::string> error;
    if (color < 0)
        error = "a communicator is split by colours that are not negative";
    agree(error);
    MPI_Comm part = MPI_COMM_NULL;
    MPI_Comm_split(handle_, color, key, &part);
    return {part, true};
}

Communicator Communicator::split_shared() const {
    MPI_Comm part = MPI_COMM_NULL;
    MPI_Comm_split_type(handle_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &part);
    return {part, true};
}

void Communicator::barrier() const {
    MPI_Barrier(handle_);
    detail::count_call(size_, 0, 0);
}

void Communicator::sleeping_barrier() const {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Ibarrier(handle_, &request);
    for (int done = 0;;) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (done)
            return;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void Communicator::broadcast_bytes(void* data, std::size_t bytes, int root) const {
    for (std::size_t done = 0; done < bytes; done += piece_bytes) {
        const std::size_t piece = std::min(piece_bytes, bytes - done);
        MPI_Bcast(static_cast<char*>(data) + done, static_cast<int>(piece), MPI_BYTE, root,
                  handle_);
        detail::count_call(size_, rank_ == root ? piece : 0, rank_ == root ? 0 : piece);
    }
}

void Communicator::broadcast(std::string& text, int root) const {
    std::uint64_t n = text.size();
    broadcast(n, root);
    text.resize(n);
    broadcast_bytes(text.data(), n, root);
}

void Communicator::broadcast(std::vector<std::string>& texts, int root) const {
    std::uint64_t n = texts.size();
    broadcast(n, root);
    texts.resize(n);
    for (std::string& text : texts)
        broadcast(text, root);
}

void Communicator::allreduce(std::span<double> values, Reduction operation) const {
    allreduce_in_place(values, operation, handle_, size_);
}
void Communicator::allreduce(std::span<float> values, Reduction operation) const {
    allreduce_in_place(values, operation, handle_, size_);
}
void Communicator::allreduce(std::span<std::int64_t> values, Reduction operation) const {
    allreduce_in_place(values, operation, handle_, size_);
}
double Communicator::allreduce(double value, Reduction operation) const {
    allreduce(std::span<double>(&value, 1), operation);
    return value;
}
float Communicator::allreduce(float value, Reduction operation) const {
    allreduce(std::span<float>(&value, 1), operation);
    return value;
}
std::int64_t Communicator::allreduce(std::int64_t value, Reduction operation) const {
    allreduce(std::span<std::int64_t>(&value, 1), operation);
    return value;
}

void Communicator::reduce(std::span<double> values, Reduction operation, int root) const {
    reduce_in_place(values, operation, root, rank_, handle_, size_);
}
void Communicator::reduce(std::span<float> values, Reduction operation, int root) const {
    reduce_in_place(values, operation, root, rank_, handle_, size_);
}
void Communicator::reduce(std::span<std::int64_t> values, Reduction operation, int root) const {
    reduce_in_place(values, operation, root, rank_, handle_, size_);
}

std::vector<std::string> Communicator::gather(const std::string& text, int root) const {
    const auto lengths = gather(std::vector<std::uint64_t>{text.size()}, root);
    const auto all = gather(std::span<const char>(text.data(), text.size()), root);
    std::vector<std::string> texts;
    std::size_t begin = 0;
    for (const std::uint64_t length : lengths) {
        texts.emplace_back(all.data() + begin, length);
        begin += length;
    }
    return texts;
}

std::vector<std::uint64_t> Communicator::exchange_counts(std::uint64_t own) const {
    std::vector<std::uint64_t> counts(static_cast<std::size_t>(size_));
    MPI_Allgather(&own, 1, MPI_UINT64_T, counts.data(), 1, MPI_UINT64_T, handle_);
    detail::count_call(size_, sizeof own, (counts.size() - 1) * sizeof own);
    return counts;
}

void Communicator::gather_bytes(const void* own, const std::vector<std::uint64_t>& counts,
                                std::size_t size, void* all, int root) const {
    const auto ranks = static_cast<std::size_t>(size_);
    std::vector<std::uint64_t> bytes(ranks);
    std::vector<std::uint64_t> begin(ranks + 1, 0);
    for (std::size_t r = 0; r < ranks; ++r) {
        bytes[r] = counts[r] * size;
        begin[r + 1] = begin[r] + bytes[r];
    }
    const auto me = static_cast<std::size_t>(rank_);
    if (root >= 0)
        detail::count_call(size_, rank_ == root ? 0 : bytes[me],
                           rank_ == root ? begin[ranks] - bytes[me] : 0);
    if (begin[ranks] <= piece_bytes) {
        if (root < 0)
            detail::count_call(size_, bytes[me], begin[ranks] - bytes[me]);
        std::vector<int> n(bytes.begin(), bytes.end());
        std::vector<int> at(begin.begin(), begin.end() - 1);
        if (root < 0)
            MPI_Allgatherv(own, n[me], MPI_BYTE, all, n.data(), at.data(), MPI_BYTE, handle_);
        else
            MPI_Gatherv(own, n[me], MPI_BYTE, all, n.data(), at.data(), MPI_BYTE, root, handle_);
        return;
    }
    auto* out = static_cast<char*>(all);
    if (root < 0) {
        std::copy_n(static_cast<const char*>(own), bytes[me], out + begin[me]);
        for (int r = 0; r < size_; ++r)
            broadcast_bytes(out + begin[static_cast<std::size_t>(r)],
                            bytes[static_cast<std::size_t>(r)], r);
        return;
    }
    constexpr int tag = 7;
    if (rank_ != root) {
        for (std::uint64_t done = 0; done < bytes[me]; done += piece_bytes)
            MPI_Send(static_cast<const char*>(own) + done,
                     static_cast<int>(std::min<std::uint64_t>(piece_bytes, bytes[me] - done)),
                     MPI_BYTE, root, tag, handle_);
        return;
    }
    for (std::size_t r = 0; r < ranks; ++r) {
        if (r == me) {
            std::copy_n(static_cast<const char*>(own), bytes[me], out + begin[me]);
            continue;
        }
        for (std::uint64_t done = 0; done < bytes[r]; done += piece_bytes)
            MPI_Recv(out + begin[r] + done,
                     static_cast<int>(std::min<std::uint64_t>(piece_bytes, bytes[r] - done)),
                     MPI_BYTE, static_cast<int>(r), tag, handle_, MPI_STATUS_IGNORE);
    }
}

void Communicator::scatter_bytes(const void* all, std::size_t n,
                                 std::span<const std::size_t> counts, std::size_t size, void* own,
                                 int root) const {
    const auto me = static_cast<std::size_t>(rank_);
    std::optional<std::string> error;
    std::size_t total = 0;
    for (const std::size_t count : counts)
        total += count;
    if (counts.size() != static_cast<std::size_t>(size_) || (rank_ == root && total != n))
        error = "scatter: the counts of the ranks do not add up to the array";
    agree(error);
    const std::size_t own_bytes = counts[me] * size;
    detail::count_call(size_, rank_ == root ? total * size - own_bytes : 0,
                       rank_ == root ? 0 : own_bytes);
    constexpr int tag = 8;
    if (rank_ != root) {
        for (std::size_t done = 0; done < counts[me] * size; done += piece_bytes)
            MPI_Recv(static_cast<char*>(own) + done,
                     static_cast<int>(std::min(piece_bytes, counts[me] * size - done)), MPI_BYTE,
                     root, tag, handle_, MPI_STATUS_IGNORE);
        return;
    }
    const auto* in = static_cast<const char*>(all);
    for (std::size_t r = 0; r < counts.size(); ++r) {
        const std::size_t bytes = counts[r] * size;
        if (r == me)
            std::copy_n(in, bytes, static_cast<char*>(own));
        else
            for (std::size_t done = 0; done < bytes; done += piece_bytes)
                MPI_Send(in + done, static_cast<int>(std::min(piece_bytes, bytes - done)), MPI_BYTE,
                         static_cast<int>(r), tag, handle_);
        in += bytes;
    }
}

std::string Communicator::describe_current_exception() {
    try {
        throw;
    } catch (const Error& error) {
        return error.what();
    } catch (const std::bad_alloc&) {
        return "out of memory";
    } catch (const std::exception& error) {
        return std::string("unexpected error: ") + error.what();
    } catch (...) {
        return "unexpected error of unknown kind";
    }
}

void Communicator::agree(const std::optional<std::string>& error) const {
    constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
    const std::int64_t first = allreduce(error ? std::int64_t{rank_} : none, Reduction::min);
    if (first == none)
        return;
    const int failed = static_cast<int>(first);
    const std::int64_t failures = allreduce(std::int64_t{error ? 1 : 0}, Reduction::sum);
    std::string message = error.value_or("");
    broadcast(message, failed);
    if (failures < size_)
        message += " (on rank " + std::to_string(failed) + " of " + std::to_string(size_) + ")";
    throw Error(message);
}

} // namespace xrdct::mpi
