// SPDX-License-Identifier: BSD-3-Clause
// GoogleTest under MPI. Every rank runs every test. Rank 0 prints as usual; the other ranks print
// their failures alone, at once (a rank that waits for a failed one would keep them for ever).
// After each test the ranks agree on its outcome.
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/environment.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace {

using xrdct::mpi::Communicator;
using xrdct::mpi::Reduction;

class RankPrinter : public testing::EmptyTestEventListener {
  public:
    explicit RankPrinter(int rank) : rank_(rank) {}
    void OnTestStart(const testing::TestInfo& test) override {
        name_ = std::string(test.test_suite_name()) + "." + test.name();
    }
    void OnTestPartResult(const testing::TestPartResult& result) override {
        if (!result.failed())
            return;
        std::fprintf(stderr, "[rank %d] %s: %s:%d: %s\n", rank_, name_.c_str(),
                     result.file_name() != nullptr ? result.file_name() : "", result.line_number(),
                     result.message());
        std::fflush(stderr);
    }

  private:
    int rank_;
    std::string name_;
};

class Agreement : public testing::EmptyTestEventListener {
  public:
    explicit Agreement(const Communicator& communicator) : communicator_(communicator) {}
    void OnTestEnd(const testing::TestInfo& test) override {
        const bool failed = test.result()->Failed();
        const auto failures = communicator_.allreduce(std::int64_t{failed}, Reduction::sum);
        if (failures > 0 && !failed)
            ADD_FAILURE() << "the test failed on " << failures << " of " << communicator_.size()
                          << " ranks";
    }

  private:
    const Communicator& communicator_;
};

} // namespace

int main(int argc, char** argv) {
    xrdct::mpi::Environment environment(argc, argv);
    // A communicator of its own: a test that left messages behind cannot disturb the agreement.
    const Communicator communicator = Communicator::world().duplicate();
    testing::InitGoogleTest(&argc, argv);
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    if (communicator.rank() != 0) {
        delete listeners.Release(listeners.default_result_printer());
        listeners.Append(new RankPrinter(communicator.rank()));
    }
    // Last in the list, so first to hear of a test's end: the printer then knows the agreed result.
    listeners.Append(new Agreement(communicator));
    const int result = RUN_ALL_TESTS();
    return static_cast<int>(communicator.allreduce(std::int64_t{result}, Reduction::max));
}
