// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/manual/describe_command.hpp"

#include "base/error.hpp"
#include "jobs/condition/job.hpp"
#include "jobs/manual/completion.hpp"
#include "jobs/manual/description.hpp"
#include "jobs/manual/man_page.hpp"
#include "jobs/pattern/pattern_job.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "jobs/settings/job.hpp"
#include "mpi/files/text_file.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::manual {

namespace {

namespace fs = std::filesystem;

std::string to_json(const ProgramDescription& program) {
    nlohmann::ordered_json commands = nlohmann::ordered_json::array();
    for (const auto& command : program.commands) {
        nlohmann::ordered_json options = nlohmann::ordered_json::array();
        for (const auto& option : command.options)
            options.push_back({{"name", option.name},
                               {"short_name", option.short_name ? std::string(1, option.short_name)
                                                                : std::string()},
                               {"value", option.value},
                               {"default", option.default_value},
                               {"repeated", option.repeated},
                               {"required", option.required},
                               {"help", option.help}});
        commands.push_back({{"name", command.name},
                            {"summary", command.summary},
                            {"usage", command.usage},
                            {"example", command.example},
                            {"options", options}});
    }
    return nlohmann::ordered_json{{"version", program.version}, {"commands", commands}}.dump(1);
}

std::vector<KeysPage> keys_pages() {
    const std::string toml = "A TOML file. ";
    return {{"xrdct-job", "keys of the job file of xrdct run",
             toml + "xrdct validate prints it with every default.", "xrdct-run",
             settings::job_reference()},
            {"xrdct-pattern", "keys of the job file of xrdct rietveld",
             toml + "It describes the refinement of one powder pattern.", "xrdct-rietveld",
             pattern::pattern_job_reference()},
            {"xrdct-condition-job", "keys of the job file of xrdct condition",
             toml + "It describes how a scan is corrected and centred.", "xrdct-condition",
             condition::condition_job_reference()}};
}

void write_manual(const ProgramDescription& program, const fs::path& folder) {
    const auto write = [&](const fs::path& name, const std::string& text) {
        const fs::path path = folder / name;
        std::error_code code;
        fs::create_directories(path.parent_path(), code);
        if (code)
            throw Error(fmt::format("{}: the folder cannot be made: {}",
                                    path.parent_path().string(), code.message()));
        files::write_text_file(path, text);
    };
    write("man/man1/xrdct.1", program_page(program));
    for (const auto& command : program.commands)
        write(fmt::format("man/man1/xrdct-{}.1", command.name), command_page(program, command));
    for (const auto& page : keys_pages())
        write(fmt::format("man/man5/{}.5", page.name), keys_page(program, page));
    write("bash/xrdct", bash_completion(program));
    write("zsh/_xrdct", zsh_completion(program));
}

} // namespace

int command_describe(const std::vector<std::string>& arguments) {
    program::CommandLine line("describe",
                              "print commands and options as JSON, or write their man pages",
                              "[--output FOLDER]", "xrdct describe --output manual");
    line.optional<std::string>(
        "output", "FOLDER",
        "write man pages (man/) and completion (bash/, zsh/) into this folder instead");
    if (!line.parse(arguments))
        return 0;
    const ProgramDescription program = describe_program();
    if (line.has("output"))
        write_manual(program, line.get<std::string>("output"));
    else
        fmt::print("{}\n", to_json(program));
    return 0;
}

} // namespace xrdct::manual
