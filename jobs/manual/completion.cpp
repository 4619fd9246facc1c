// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/manual/completion.hpp"

#include <fmt/format.h>

namespace xrdct::manual {

namespace {

/// "--a --b " of the options whose value is of a kind; switches have none.
std::string options_with_value(const CommandDescription& command, ValueKind kind) {
    std::string words;
    for (const OptionDescription& option : command.options)
        if (!option.value.empty() && value_kind(option) == kind)
            words += fmt::format("--{} ", option.name);
    return words;
}

std::string all_options(const CommandDescription& command) {
    std::string words;
    for (const OptionDescription& option : command.options) {
        if (option.short_name)
            words += fmt::format("-{} ", option.short_name);
        words += fmt::format("--{} ", option.name);
    }
    return words;
}

constexpr const char* bash_head = R"(# Completion of xrdct for bash, written by xrdct describe.
_xrdct() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local options= files= folders= others=
    COMPREPLY=()
    # "--option=value" comes as three words.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD == 1)); then
)";

constexpr const char* bash_tail = R"(        *) return ;;
    esac
    if [[ " $others " == *" $previous "* ]]; then
        return
    elif [[ " $folders " == *" $previous "* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
    elif [[ " $files " != *" $previous "* && $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}
complete -F _xrdct xrdct
)";

/// Text inside single quotes, and there inside the brackets or fields of a specification of
/// _arguments.
std::string zsh_text(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '\'')
            out += "'\\''";
        else if (c == '\\' || c == '[' || c == ']' || c == ':')
            out += std::string("\\") + c;
        else
            out += c;
    }
    return out;
}

std::string zsh_option(const OptionDescription& option) {
    const char* files = value_kind(option) == ValueKind::folder ? "_files -/"
                        : value_kind(option) == ValueKind::file ? "_files"
                                                                : " ";
    const std::string value =
        option.value.empty() ? "" : fmt::format(":{}:{}", zsh_text(option.value), files);
    const std::string help = fmt::format("[{}]", zsh_text(option.help));
    if (option.short_name)
        return fmt::format("'(-{0} --{1})'{{-{0},--{1}{2}}}'{3}{4}'", option.short_name,
                           option.name, option.value.empty() ? "" : "=", help, value);
    return fmt::format("'{}--{}{}{}{}'", option.repeated ? "*" : "", option.name,
                       option.value.empty() ? "" : "=", help, value);
}

constexpr const char* zsh_head = R"(#compdef xrdct
# Completion of xrdct for zsh, written by xrdct describe.
_xrdct() {
    local -a commands
    commands=(
)";

constexpr const char* zsh_middle = R"(    )
    if (( CURRENT == 2 )); then
        _describe -t commands command commands
        _arguments '--version[print the version]' '--help[print a help]'
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
)";

} // namespace

std::string bash_completion(const ProgramDescription& program) {
    std::string names = "--help --version";
    for (const CommandDescription& command : program.commands)
        names += " " + command.name;
    std::string script = bash_head;
    script += fmt::format("        mapfile -t COMPREPLY < <(compgen -W \"{}\" -- \"$current\")\n"
                          "        return\n    fi\n    case ${{COMP_WORDS[1]}} in\n",
                          names);
    for (const CommandDescription& command : program.commands)
        script += fmt::format("        {})\n            options=\"{}\"\n            files=\"{}\"\n"
                              "            folders=\"{}\"\n            others=\"{}\"\n"
                              "            ;;\n",
                              command.name, all_options(command),
                              options_with_value(command, ValueKind::file),
                              options_with_value(command, ValueKind::folder),
                              options_with_value(command, ValueKind::other));
    return script + bash_tail;
}

std::string zsh_completion(const ProgramDescription& program) {
    std::string script = zsh_head;
    for (std::size_t i = 0; i < program.commands.size(); ++i)
        script += fmt::format("        '{}:{}'\n", program.commands[i].name,
                              zsh_text(program.summaries[i]));
    script += zsh_middle;
    for (const CommandDescription& command : program.commands) {
        script += fmt::format("        {})\n            _arguments -s", command.name);
        for (const OptionDescription& option : command.options)
            script += " \\\n                " + zsh_option(option);
        script += " \\\n                '*:file:_files'\n            ;;\n";
    }
    return script + "    esac\n}\n_xrdct \"$@\"\n";
}

} // namespace xrdct::manual
