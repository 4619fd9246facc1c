// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/formula.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <gemmi/elem.hpp>
#include <map>
#include <string>

namespace xrdct::crystal {

namespace {

struct Parser {
    std::string_view text;
    std::size_t at = 0;

    static bool is(int (*test)(int), char c) { return test(static_cast<unsigned char>(c)) != 0; }
    bool end() const { return at >= text.size(); }

    double number() {
        double value = 1;
        const char* from = text.data() + at;
        std::size_t n = 0;
        while (at + n < text.size() && (is(std::isdigit, from[n]) || from[n] == '.'))
            ++n;
        if (n == 0)
            return value;
        const auto result = std::from_chars(from, from + n, value);
        at += n;
        return result.ec == std::errc{} && result.ptr == from + n ? value : -1;
    }

    /// Adds what stands up to the end or a closing bracket; false if it cannot be read.
    bool group(std::map<int, FormulaPart>& parts, double factor, int depth) {
        while (!end()) {
            const char c = text[at];
            if (is(std::isspace, c) || c == ',') {
                ++at;
            } else if (c == '(' && depth < 16) {
                // The count behind the bracket is only known once its content has been read.
                const std::size_t inside = ++at;
                std::map<int, FormulaPart> content;
                if (!group(content, 1, depth + 1) || end() || text[at] != ')' || at == inside)
                    return false;
                ++at;
                const double n = number();
                if (n < 0)
                    return false;
                for (const auto& [z, part] : content) {
                    FormulaPart& sum = parts[z];
                    sum.atomic_number = part.atomic_number;
                    sum.mass = part.mass;
                    sum.count += factor * n * part.count;
                }
            } else if (c == ')') {
                return depth > 0;
            } else if (is(std::isupper, c)) {
                std::size_t n = 1;
                while (at + n < text.size() && is(std::islower, text[at + n]))
                    ++n;
                const std::string symbol(text.substr(at, n));
                const gemmi::El element =
                    n > 2 ? gemmi::El::X : gemmi::find_element(symbol.c_str());
                if (element == gemmi::El::X)
                    return false;
                at += n;
                const double count = number();
                if (count < 0)
                    return false;
                FormulaPart& sum = parts[static_cast<int>(element)];
                sum.atomic_number = gemmi::Element(element).atomic_number();
                sum.mass = gemmi::molecular_weight(element);
                sum.count += factor * count;
            } else {
                return false;
            }
        }
        return depth == 0;
    }
};

} // namespace

std::optional<std::vector<FormulaPart>> parse_formula(std::string_view text) {
    std::map<int, FormulaPart> parts;
    Parser parser{text};
    if (!parser.group(parts, 1, 0))
        return std::nullopt;
    std::vector<FormulaPart> formula;
    for (const auto& [z, part] : parts)
        if (part.count > 0)
            formula.push_back(part);
    if (formula.empty())
        return std::nullopt;
    std::stable_sort(formula.begin(), formula.end(),
                     [](const FormulaPart& a, const FormulaPart& b) {
                         return a.atomic_number < b.atomic_number;
                     });
    return formula;
}

double mass_of(const std::vector<FormulaPart>& formula) {
    double mass = 0;
    for (const FormulaPart& part : formula)
        mass += part.count * part.mass;
    return mass;
}

} // namespace xrdct::crystal
