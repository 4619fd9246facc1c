// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/cif_document.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <gemmi/cif.hpp>
#include <gemmi/util.hpp>
#include <map>
#include <memory>
#include <optional>

namespace xrdct::crystal {

namespace {

void append_utf8(std::string& text, std::uint32_t code) {
    const auto byte = [&](std::uint32_t value) { text += static_cast<char>(value); };
    if (code < 0x80) {
        byte(code);
    } else if (code < 0x800) {
        byte(0xC0U | (code >> 6U));
        byte(0x80U | (code & 0x3FU));
    } else if (code < 0x10000) {
        byte(0xE0U | (code >> 12U));
        byte(0x80U | ((code >> 6U) & 0x3FU));
        byte(0x80U | (code & 0x3FU));
    } else {
        byte(0xF0U | (code >> 18U));
        byte(0x80U | ((code >> 12U) & 0x3FU));
        byte(0x80U | ((code >> 6U) & 0x3FU));
        byte(0x80U | (code & 0x3FU));
    }
}

std::string utf8_of_utf16(std::string_view text, bool big_endian) {
    const auto unit = [&](std::size_t i) -> std::uint32_t {
        const auto first = static_cast<unsigned char>(text[i]);
        const auto second = static_cast<unsigned char>(text[i + 1]);
        return big_endian ? first * 256U + second : second * 256U + first;
    };
    std::string result;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
        std::uint32_t code = unit(i);
        if (code >= 0xD800 && code < 0xDC00 && i + 3 < text.size()) {
            code = 0x10000 + ((code - 0xD800) << 10U) + (unit(i + 2) - 0xDC00);
            i += 2;
        }
        append_utf8(result, code);
    }
    return result;
}

/// The text in UTF-8 without byte order mark, its lines ended by \n.
std::string plain_text(std::string_view text) {
    const auto starts = [&](std::string_view mark) { return text.substr(0, mark.size()) == mark; };
    std::string decoded;
    using namespace std::string_view_literals;
    if (starts("\xFF\xFE"sv) || starts("\xFE\xFF"sv))
        decoded = utf8_of_utf16(text.substr(2), text[0] == '\xFE');
    else if (text.size() >= 4 && (text[0] == 0) != (text[1] == 0) &&
             (text[0] == 0) == (text[2] == 0))
        decoded = utf8_of_utf16(text, text[0] == 0);
    else
        decoded = text.substr(starts("\xEF\xBB\xBF"sv) ? 3 : 0);
    // The end mark of DOS.
    while (!decoded.empty() && (decoded.back() == '\x1A' || decoded.back() == 0))
        decoded.pop_back();
    std::string result;
    result.reserve(decoded.size() + 1);
    for (std::size_t i = 0; i < decoded.size(); ++i) {
        if (decoded[i] == '\r' && i + 1 < decoded.size() && decoded[i + 1] == '\n')
            continue;
        result += decoded[i] == '\r' ? '\n' : decoded[i];
    }
    return result;
}

/// Typographic minus signs, blanks and quotes as ASCII has them; other characters as "x".
std::string ascii_text(const std::string& text) {
    static const std::map<std::string_view, char> signs{
        {"\xE2\x88\x92", '-'},  {"\xE2\x80\x90", '-'},  {"\xE2\x80\x91", '-'},
        {"\xE2\x80\x92", '-'},  {"\xE2\x80\x93", '-'},  {"\xC2\xA0", ' '},
        {"\xEF\xBB\xBF", ' '},  {"\xE2\x80\x89", ' '},  {"\xE2\x80\xAF", ' '},
        {"\xE2\x80\x98", '\''}, {"\xE2\x80\x99", '\''}, {"\xE2\x80\x9C", '"'},
        {"\xE2\x80\x9D", '"'}};
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (static_cast<unsigned char>(text[i]) < 0x80) {
            result += text[i];
            continue;
        }
        char sign = text[i] == '\xA0' ? ' ' : 'x';
        for (const std::size_t length : {2U, 3U})
            if (const auto found = signs.find(std::string_view(text).substr(i, length));
                found != signs.end()) {
                sign = found->second;
                i += length - 1;
                break;
            }
        result += sign;
    }
    return result;
}

/// A last line of one bare word or tag, such as "END"; where it begins.
std::optional<std::size_t> last_word(const std::string& text) {
    const auto end = text.find_last_not_of(" \t\n");
    if (end == std::string::npos)
        return std::nullopt;
    const auto line = text.rfind('\n', end);
    const auto begin = text.find_first_not_of(" \t", line == std::string::npos ? 0 : line + 1);
    if (line == std::string::npos ||
        !std::all_of(text.begin() + static_cast<std::ptrdiff_t>(begin),
                     text.begin() + static_cast<std::ptrdiff_t>(end) + 1, [](unsigned char c) {
                         return std::isalpha(c) != 0 || c == '_' || c == '.' || c == '-';
                     }))
        return std::nullopt;
    return begin;
}

std::optional<gemmi::cif::Document> try_parse(const std::string& text, const std::string& source,
                                              std::string& reason) {
    gemmi::cif::Document document;
    try {
        gemmi::cif::pegtl::memory_input<> input(text.data(), text.size(), source);
        gemmi::cif::parse_input(document, input);
        return document;
    } catch (const std::exception& e) {
        if (reason.empty())
            reason = e.what();
        return std::nullopt;
    }
}

/// Dictionaries of two languages: "_cell.length_a" is "_cell_length_a".
void spell_with_underscores(gemmi::cif::Document& document) {
    const auto spell = [](std::string& tag) {
        if (const auto dot = tag.find('.'); dot != std::string::npos)
            tag[dot] = '_';
    };
    for (gemmi::cif::Block& block : document.blocks)
        for (gemmi::cif::Item& item : block.items) {
            if (item.type == gemmi::cif::ItemType::Pair)
                spell(item.pair[0]);
            else if (item.type == gemmi::cif::ItemType::Loop)
                for (std::string& tag : item.loop.tags)
                    spell(tag);
        }
}

bool has_structure(gemmi::cif::Block& block) {
    return block.find_value("_cell_length_a") != nullptr &&
           block.find_values("_atom_site_fract_x").length() > 0;
}

/// Whether a structure depends on the tag (in lower case).
bool matters(const std::string& tag) {
    for (const char* start :
         {"_cell_length_", "_cell_angle_", "_space_group", "_symmetry_", "_atom_site_",
          "_cell_formula_units_z", "_chemical_formula_sum", "_exptl_crystal_density_diffrn"})
        if (tag.starts_with(start))
            return true;
    return false;
}

bool says_nothing(const std::string& value) {
    return gemmi::cif::is_null(value) || trimmed(gemmi::cif::as_string(value)).empty();
}

std::string shown(const std::string& value) {
    return gemmi::cif::is_null(value) ? value : trimmed(gemmi::cif::as_string(value));
}

/// Takes values of tags, and tells which of them are to be left out.
class TagsSeen {
  public:
    TagsSeen(const std::string& source, const std::string& block)
        : source_(source), block_(block) {}

    /// Whether a pair repeats one of before, which gets its value if it has none itself.
    bool repeats(gemmi::cif::Item& item, std::vector<gemmi::cif::Item>& kept) {
        const auto& tag = item.pair[0];
        const auto [found, is_new] = pairs_.try_emplace(gemmi::to_lower(tag), kept.size());
        if (loops_.contains(found->first))
            return conflict(tag, "a list", shown(item.pair[1]));
        if (is_new)
            return false;
        std::string& value = kept[found->second].pair[1];
        if (says_nothing(value))
            value = item.pair[1];
        else if (!says_nothing(item.pair[1]) && shown(value) != shown(item.pair[1]))
            return conflict(tag, shown(value), shown(item.pair[1]));
        note(tag);
        return true;
    }

    /// Whether a loop repeats tags of before.
    bool repeats(const gemmi::cif::Loop& loop) {
        for (const std::string& tag : loop.tags) {
            const std::string key = gemmi::to_lower(tag);
            if (pairs_.contains(key))
                return conflict(tag, "one value", "a list");
            const auto found = loops_.find(key);
            if (found == loops_.end())
                continue;
            if (found->second->tags != loop.tags || found->second->values != loop.values)
                return conflict(tag, "one list", "another");
            note(tag);
            return true;
        }
        const auto copy = std::make_shared<const gemmi::cif::Loop>(loop);
        for (std::size_t i = 0; i < loop.tags.size(); ++i)
            if (!loops_.try_emplace(gemmi::to_lower(loop.tags[i]), copy).second)
                compare_columns(loop, i);
        return false;
    }

    void add_warnings(std::vector<std::string>& warnings) const {
        if (!repeated_.empty())
            warnings.push_back(
                fmt::format("{} given twice; read once", fmt::join(repeated_, ", ")));
    }

  private:
    void note(const std::string& tag) {
        if (std::find(repeated_.begin(), repeated_.end(), tag) == repeated_.end())
            repeated_.push_back(tag);
    }

    bool conflict(const std::string& tag, const std::string& one, const std::string& other) {
        if (matters(gemmi::to_lower(tag)))
            throw Error(fmt::format("{}: block \"{}\" gives {} twice: \"{}\" and \"{}\"", source_,
                                    block_, tag, one, other));
        note(tag);
        return true;
    }

    /// A tag twice in one loop.
    void compare_columns(const gemmi::cif::Loop& loop, std::size_t column) {
        const auto same = [&](const std::string& tag) {
            return gemmi::to_lower(tag) == gemmi::to_lower(loop.tags[column]);
        };
        const auto first = static_cast<std::size_t>(
            std::find_if(loop.tags.begin(), loop.tags.end(), same) - loop.tags.begin());
        note(loop.tags[column]);
        for (std::size_t row = 0; row < loop.length(); ++row) {
            const auto& one = loop.values[row * loop.width() + first];
            const auto& other = loop.values[row * loop.width() + column];
            if (one != other)
                conflict(loop.tags[column], shown(one), shown(other));
        }
    }

    const std::string &source_, &block_;
    std::map<std::string, std::size_t> pairs_;
    std::map<std::string, std::shared_ptr<const gemmi::cif::Loop>> loops_;
    std::vector<std::string> repeated_;
};

void tidy(gemmi::cif::Block& block, const std::string& source, std::vector<std::string>& warnings) {
    TagsSeen seen(source, block.name);
    std::vector<gemmi::cif::Item> kept;
    for (gemmi::cif::Item& item : block.items) {
        if (item.type == gemmi::cif::ItemType::Pair) {
            if (item.pair[1].empty()) {
                warnings.push_back(fmt::format("{} has no value and was left out", item.pair[0]));
                continue;
            }
            if (seen.repeats(item, kept))
                continue;
        } else if (item.type == gemmi::cif::ItemType::Loop) {
            if (seen.repeats(item.loop))
                continue;
        }
        kept.push_back(std::move(item));
    }
    block.items = std::move(kept);
    seen.add_warnings(warnings);
}

} // namespace

gemmi::cif::Document parse_cif(std::string_view text, const std::string& source,
                               std::vector<std::string>& warnings) {
    std::string plain = plain_text(text);
    std::string reason;
    auto document = try_parse(plain, source, reason);
    if (!document &&
        std::any_of(plain.begin(), plain.end(), [](unsigned char c) { return c >= 0x80; })) {
        plain = ascii_text(plain);
        document = try_parse(plain, source, reason);
        if (document)
            warnings.emplace_back("values hold characters beyond ASCII without quotes; they were "
                                  "replaced");
    }
    for (int dropped = 0; !document && dropped < 3; ++dropped) {
        const auto begin = last_word(plain);
        if (!begin)
            break;
        const std::string word = trimmed(std::string_view(plain).substr(*begin));
        plain.resize(*begin);
        document = try_parse(plain, source, reason);
        if (document)
            warnings.push_back(fmt::format(
                "the end of the file, \"{}\", belongs to nothing and was left out", word));
    }
    if (!document)
        throw Error(fmt::format("{}: not a CIF: {}", source, reason));
    if (document->blocks.empty())
        throw Error(fmt::format("{}: not a CIF: it holds no data block", source));
    spell_with_underscores(*document);
    return std::move(*document);
}

gemmi::cif::Block& structure_block(gemmi::cif::Document& document, const std::string& wanted,
                                   const std::string& source, std::vector<std::string>& warnings) {
    std::vector<std::string> names, others;
    std::vector<gemmi::cif::Block*> structures;
    gemmi::cif::Block* chosen = nullptr;
    int n_wanted = 0;
    for (gemmi::cif::Block& block : document.blocks) {
        const bool asked =
            !wanted.empty() && gemmi::to_lower(block.name) == gemmi::to_lower(wanted);
        n_wanted += asked ? 1 : 0;
        if (asked && chosen == nullptr)
            chosen = &block;
        if (!has_structure(block))
            continue;
        names.push_back(block.name);
        structures.push_back(&block);
        if (wanted.empty() && chosen == nullptr)
            chosen = &block;
        else
            others.push_back(block.name);
    }
    // Databases name all blocks alike.
    if (const auto n = finite_number(wanted); n && chosen == nullptr && *n >= 1 &&
                                              *n == std::floor(*n) &&
                                              *n <= static_cast<double>(structures.size()))
        chosen = structures[static_cast<std::size_t>(*n) - 1];
    if (!wanted.empty() && chosen == nullptr)
        throw Error(
            fmt::format("{}: there is no block \"{}\"; blocks with a structure: {}", source, wanted,
                        names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
    if (n_wanted > 1)
        warnings.push_back(
            fmt::format("{} blocks are named \"{}\"; the first one was taken", n_wanted, wanted));
    if (wanted.empty() && !others.empty())
        warnings.push_back(fmt::format("{} structures in the file: {} was taken, also there: {}; "
                                       "block, by name or number, "
                                       "chooses another",
                                       names.size(), chosen->name, fmt::join(others, ", ")));
    if (chosen == nullptr)
        for (gemmi::cif::Block& block : document.blocks)
            if (chosen == nullptr && block.find_value("_cell_length_a") != nullptr)
                chosen = &block;
    if (chosen == nullptr)
        chosen = &document.blocks.front();
    tidy(*chosen, source, warnings);
    return *chosen;
}

} // namespace xrdct::crystal
