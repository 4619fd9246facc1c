// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/cluster/profile.hpp"

#include "base/error.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/settings/job.hpp"
#include "jobs/settings/model_settings.hpp"
#include "mpi/files/text_file.hpp"

#include <cstdlib>

#include <fmt/format.h>

namespace xrdct::cluster {

namespace {

/// A word of an #SBATCH line: a line break or quote in it would begin something else.
void plain(settings::Settings& s, const std::string& key, const std::string& text) {
    for (const char c : text)
        require(static_cast<unsigned char>(c) > ' ' && c != '"' && c != '\'' && c != '`' &&
                    c != '$' && c != '\\',
                s, key, fmt::format("'{}' holds a blank, a quote or a $", text));
}

Profile read_all(settings::Settings& s) {
    Profile p;
    const auto word = [&](const std::string& key, const std::string& what) {
        auto text = s.text(key, "", what);
        plain(s, key, text);
        return text;
    };
    p.partition = word("slurm.partition", "partition; empty: SLURM's default");
    p.account = word("slurm.account", "account that is charged; empty: SLURM's default");
    p.qos = word("slurm.qos", "quality of service; empty: none");
    p.constraint = word("slurm.constraint", "features of the nodes; empty: none");
    p.options = s.texts("slurm.options", {}, "more options of sbatch, such as \"--exclusive\"");
    for (const auto& option : p.options) {
        plain(s, "slurm.options", option);
        require(option.starts_with("--"), s, "slurm.options",
                fmt::format("'{}' does not begin with --", option));
    }

    p.modules = s.texts("run.modules", {}, "modules to load");
    for (const auto& module : p.modules)
        plain(s, "run.modules", module);
    p.setup = s.texts("run.setup", {}, "shell lines before the run");
    p.container = s.texts("run.container", {},
                          "words in front of the program on every rank, such as [\"apptainer\", "
                          "\"exec\", \"/path/xrdct.sif\"]");
    p.program = s.text("run.program", "",
                       "path of xrdct on the nodes; empty: this program, or xrdct in a container");
    p.launcher = s.choice("run.launcher", "srun", {"srun", "mpirun"}, "what starts the ranks");
    p.launcher_options = s.texts("run.launcher_options",
                                 p.launcher == "srun" ? std::vector<std::string>{"--mpi=pmix"}
                                                      : std::vector<std::string>{},
                                 "options of the launcher");

    p.cores_per_node = s.integer("node.cores", 8, "cores of a node that one job may take");
    require(p.cores_per_node >= 1 && p.cores_per_node <= 4096, s, "node.cores",
            "must lie between 1 and 4096");
    const auto memory = s.text("node.memory", "", "memory of a node, such as 256GB; empty: any");
    if (!memory.empty())
        p.memory_per_node = program::parse_bytes(memory, s.where("node.memory"));
    p.max_nodes = s.integer("node.most", 1, "most nodes of one job");
    require(p.max_nodes >= 1 && p.max_nodes <= 10000, s, "node.most",
            "must lie between 1 and 10000");

    const auto minutes = [&](const std::string& key, double fallback, const std::string& what) {
        const double value = s.number(key, fallback, "min", what);
        require(value > 0 && value < 1e6, s, key, "must be positive");
        return 60 * value;
    };
    p.target = minutes("time.target", 30,
                       "as many cores are taken as are estimated to finish "
                       "within this");
    p.max_time = minutes("time.most", 1440,
                         "longest time limit; a job that needs more is "
                         "continued after it");
    p.factor = s.number("time.factor", 3, "", "time asked for over time estimated");
    require(p.factor >= 1 && p.factor <= 100, s, "time.factor", "must lie in [1, 100]");
    p.memory_factor = s.number("node.memory_factor", 1.3, "", "memory asked for over estimated");
    require(p.memory_factor >= 1 && p.memory_factor <= 100, s, "node.memory_factor",
            "must lie in [1, 100]");
    p.notice = minutes("time.notice", 3, "how long before its time limit a job is asked to stop");
    require(p.notice >= 60 && p.notice <= 65535, s, "time.notice",
            "must be at least 1 min, as SLURM's signal may come half a minute late");
    require(p.max_time > p.notice, s, "time.most", "must exceed time.notice");
    p.requeues = s.integer("time.requeues", 10, "most continuations after a time limit");
    require(p.requeues >= 0, s, "time.requeues", "must not be negative");
    return p;
}

} // namespace

Profile parse_profile(const std::string& text, const std::filesystem::path& source) {
    auto settings = settings::Settings::parse(text, source.string());
    Profile profile;
    try {
        profile = read_all(settings);
    } catch (const Error&) {
        std::vector<std::string> known;
        for (const auto& entry : profile_reference())
            known.push_back(entry.path);
        settings.refuse_unknown(known);
        throw;
    }
    settings.refuse_unknown();
    profile.source = source;
    return profile;
}

Profile find_profile(const std::filesystem::path& given) {
    if (!given.empty())
        return parse_profile(files::read_text_file(given), given);
    const auto variable = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value ? value : "");
    };
    if (const auto path = variable("XRDCT_PROFILE"); !path.empty())
        return parse_profile(files::read_text_file(path), path);
    std::filesystem::path folder = variable("XDG_CONFIG_HOME");
    if (folder.empty() && !variable("HOME").empty())
        folder = std::filesystem::path(variable("HOME")) / ".config";
    const auto path = folder / "xrdct" / "profile.toml";
    std::error_code code;
    if (!folder.empty() && std::filesystem::exists(path, code))
        return parse_profile(files::read_text_file(path), path);
    return parse_profile("", "");
}

std::vector<settings::SettingDescription> profile_reference() {
    auto settings = settings::Settings::parse("", "profile");
    read_all(settings);
    return settings.descriptions();
}

} // namespace xrdct::cluster
