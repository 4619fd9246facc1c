// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/manual/man_page.hpp"

#include <cctype>
#include <stdexcept>

#include <fmt/format.h>

namespace xrdct::manual {

namespace {

/// Number of bytes of the UTF-8 character that begins with `first`; 0: none does.
std::size_t character_length(unsigned char first) {
    if (first < 0x80)
        return 1;
    return first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 0;
}

std::string code_point(const std::string& text, std::size_t at, std::size_t length) {
    unsigned long code = static_cast<unsigned char>(text[at]) & (0xFFU >> (length + 1));
    for (std::size_t i = at + 1; i < at + length; ++i)
        code = (code << 6U) | (static_cast<unsigned char>(text[i]) & 0x3FU);
    return fmt::format("\\[u{:04X}]", code);
}

/// "A sentence." of "a sentence".
std::string sentence(std::string text) {
    if (!text.empty())
        text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    if (!text.empty() && text.back() != '.')
        text += '.';
    return text;
}

std::string upper(std::string text) {
    for (char& c : text)
        c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

std::string header(const ProgramDescription& program, const std::string& name, int section,
                   const std::string& summary) {
    return fmt::format(".\\\" Written by xrdct describe.\n"
                       ".TH {} {} {} \"xrdct {}\" \"{}\"\n.SH NAME\n{} \\- {}\n",
                       roff(upper(name)), section,
                       program.release_date.empty() ? "\"\"" : program.release_date,
                       program.version, section == 1 ? "User commands" : "File formats", roff(name),
                       roff(summary));
}

std::string option_entry(const OptionDescription& option) {
    std::string entry = ".TP\n\\fB";
    if (option.short_name)
        entry += fmt::format("\\-{}\\fR, \\fB", option.short_name);
    entry += fmt::format("\\-\\-{}\\fR", roff(option.name));
    if (!option.value.empty())
        entry += fmt::format(" \\fI{}\\fR", roff(option.value));
    entry += fmt::format("\n{}\n", roff(sentence(option.help)));
    if (option.required)
        entry += "Required.\n";
    if (!option.default_value.empty())
        entry += "Default: " + roff(option.default_value) + ".\n";
    // Some helps say so themselves.
    if (option.repeated && option.help.find("repeated") == std::string::npos)
        entry += "May be repeated.\n";
    return entry;
}

std::string example_lines(const std::string& lines) {
    return ".nf\n" + lines + "\n.fi\n";
}

constexpr const char* where_more_is =
    "The user guide, the theory and the file formats are in\n.IR /usr/share/doc/xrdct/ ,\n"
    "or in docs/ of the source.\n";

} // namespace

std::string roff(const std::string& text) {
    std::string out;
    bool line_begins = true;
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        const std::size_t length = character_length(static_cast<unsigned char>(c));
        if (length == 0 || i + length > text.size())
            throw std::invalid_argument("text of a man page is not UTF-8");
        if (length > 1)
            out += code_point(text, i, length);
        else if (c == '\\')
            out += "\\e";
        else if (c == '-')
            out += "\\-";
        else if (line_begins && (c == '.' || c == '\''))
            out += std::string("\\&") + c;
        else
            out += c;
        line_begins = c == '\n';
        i += length;
    }
    return out;
}

std::string program_page(const ProgramDescription& program) {
    std::string page =
        header(program, "xrdct", 1,
               "maps of crystalline phases from X-ray diffraction computed tomography");
    page += ".SH SYNOPSIS\n.B xrdct\n.I command\n.RI [ arguments ]\n.br\n"
            ".B mpirun \\-n\n.I ranks\n.B xrdct\n.I command\n.RI [ arguments ]\n"
            ".SH DESCRIPTION\n"
            "Turns scans of whole devices into maps of the phases inside them, of their amounts\n"
            "and lattice parameters.\n"
            "Results are NeXus (HDF5) files, pictures and an HTML report.\n"
            ".SH COMMANDS\n";
    for (std::size_t i = 0; i < program.commands.size(); ++i)
        page += fmt::format(".TP\n.BR xrdct\\-{} (1)\n{}\n", roff(program.commands[i].name),
                            roff(sentence(program.summaries[i])));
    page += ".SH OPTIONS\n.TP\n.B \\-\\-version\nPrints the version and the revision of the source "
            "it was built of.\n"
            ".TP\n.B \\-\\-help\nPrints a short help; behind a command that of the command.\n"
            ".SH EXIT STATUS\n0: done.\n1: it failed, and says why on standard error.\n"
            "75: a run was asked to stop and has saved its state;\n"
            ".B xrdct run \\-\\-resume\ncontinues it.\n"
            ".SH ENVIRONMENT\n.TP\n.BR OMP_NUM_THREADS ,\\  OPENBLAS_NUM_THREADS\n"
            "Set both to 1 where every core has a rank of its own.\n.SH EXAMPLES\n";
    page += example_lines("mpirun \\-n 2 xrdct simulate \\-\\-output cell\n"
                          "mpirun \\-n 2 xrdct run cell/job.toml\n"
                          "xrdct report cell/results");
    page += ".SH SEE ALSO\n.BR xrdct\\-job (5),\n.BR mpirun (1)\n.PP\n";
    page += where_more_is;
    return page;
}

std::string command_page(const ProgramDescription& program, const CommandDescription& command) {
    std::string page = header(program, "xrdct-" + command.name, 1, command.summary);
    page += fmt::format(".SH SYNOPSIS\n.B xrdct {}\n{}\n.SH DESCRIPTION\n{}\n", roff(command.name),
                        roff(command.usage), roff(sentence(command.summary)));
    page += where_more_is;
    page += ".SH OPTIONS\n";
    for (const OptionDescription& option : command.options)
        page += option_entry(option);
    page += ".SH EXAMPLES\n" + example_lines(roff(command.example));
    page += ".SH SEE ALSO\n.BR xrdct (1)";
    for (const CommandDescription& other : program.commands)
        if (other.name != command.name)
            page += fmt::format(",\n.BR xrdct\\-{} (1)", roff(other.name));
    return page + "\n";
}

std::string keys_page(const ProgramDescription& program, const KeysPage& page) {
    std::string text = header(program, page.name, 5, page.summary);
    text += ".SH DESCRIPTION\n" + roff(page.text) +
            "\nKeys are shown with their tables; [] stands for one table of several.\n.SH KEYS\n";
    for (const settings::SettingDescription& key : page.keys) {
        text += fmt::format(".TP\n\\fB{}\\fR ({}{}{})\n", roff(key.path), roff(key.type),
                            key.unit.empty() ? "" : ", ", roff(key.unit));
        text += roff(sentence(key.description)) + "\n";
        text += key.default_value.empty() ? "Required.\n"
                                          : "Default: " + roff(key.default_value) + ".\n";
    }
    return text + fmt::format(".SH SEE ALSO\n.BR xrdct (1),\n.BR {} (1)\n", roff(page.see_also));
}

} // namespace xrdct::manual
