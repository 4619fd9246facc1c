// SPDX-License-Identifier: BSD-3-Clause
#include "cell_fixture.hpp"

#include <set>

namespace xrdct::test {

namespace {

/// The pristine cell, simulated on first use.
const std::filesystem::path& pristine() {
    static const TemporaryDirectory folder;
    static const std::filesystem::path cell = [] {
        const auto path = folder / "cell";
        const auto made = run_xrdct({"simulate", "--output", path.string(), "--translations", "24",
                                     "--rotations", "20", "--channels", "260", "--first-channel",
                                     "1.3", "--channel-width", "0.0142"},
                                    0, 120);
        if (made.exit_code != 0)
            throw std::runtime_error("simulate failed: " + made.errors);
        return path;
    }();
    return cell;
}

} // namespace

namespace {

/// The names in the results; the record of a failed run is meant to stay.
std::string products(const std::filesystem::path& results) {
    std::string names = std::filesystem::exists(results) ? list_folder(results) : std::string();
    const std::string record = "progress.json";
    if (const auto at = names.find(record); at != std::string::npos) {
        names.erase(at, record.size() + 1);
        if (!names.empty() && names.back() == ' ')
            names.pop_back();
    }
    return names;
}

} // namespace

std::size_t occurrences(const std::string& text, const std::string& word) {
    std::size_t count = 0;
    for (std::size_t at = text.find(word); at != std::string::npos;
         at = text.find(word, at + word.size()))
        ++count;
    return count;
}

void CellTest::SetUp() {
    folder_ = std::make_unique<TemporaryDirectory>();
    std::filesystem::copy(pristine(), folder_->path(), std::filesystem::copy_options::recursive);
}

void CellTest::edit_job(const std::string& from, const std::string& to) {
    std::string text = read_text(job());
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << "no '" << from << "' in\n" << text;
    text.replace(at, from.size(), to);
    write_text(job(), text);
}

void CellTest::append_job(const std::string& text) {
    write_text(job(), read_text(job()) + text);
}

void CellTest::expect_failure(const std::vector<std::string>& words,
                              const std::vector<std::string>& more_arguments) {
    std::vector<std::string> arguments{"run", job().string()};
    arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
    const std::string before = products(results());
    for (const int ranks : {0, 3}) {
        SCOPED_TRACE("ranks " + std::to_string(ranks));
        const auto result = run_xrdct(arguments, ranks, 60);
        EXPECT_FALSE(result.timed_out);
        EXPECT_EQ(result.exit_code, 1) << result.errors;
        EXPECT_EQ(occurrences(result.errors, "xrdct: error:"), 1U) << result.errors;
        EXPECT_EQ(occurrences(result.errors, "internal error"), 0U) << result.errors;
        for (const auto& word : words)
            EXPECT_NE(result.errors.find(word), std::string::npos) << "'" << word << "' not in:\n"
                                                                   << result.errors;
        const std::string after = products(results());
        EXPECT_EQ(after, before);
    }
}

} // namespace xrdct::test
