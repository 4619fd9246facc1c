// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "absorption/body_absorption.hpp"
#include "absorption/body_level.hpp"

#include <functional>
#include <string>
#include <vector>

namespace xrdct::absorption {

/// The constant of a body's amounts.
struct FoundScale {
    double constant = 0, constant_error = 0; ///< the error is relative; 0: not from the scan
    double rest = 0, rest_error = 0;         ///< 1/mm
    BodyImage image;                         ///< for them
};

/// `progress` is called before every image; may throw.
using BeforeImage = std::function<void()>;

/// K for which f(K, image for K) = 0, f growing with K from below 0; K is at most `highest`, where
/// f is not negative. `what` names the quantity for the message. Throws Error when amounts of that
/// constant have no image, which is when f is still below 0.
FoundScale scale_by(const BodyLevel& level, double highest,
                    const std::function<double(double, const BodyImage&)>& f,
                    const std::string& what, const BeforeImage& progress);

/// K, and with `rest` the even rest, that make the corrected amounts of all phases obey the
/// conditions of Helgason and Ludwig of order 0 to 2. Throws Error when they do not tell.
FoundScale scale_by_consistency(const BodyLevel& level, bool rest, const BeforeImage& progress);

/// What the conditions say about a constant that comes from elsewhere: the change of ln K that they
/// ask for, its standard deviation, and what it would do to ln T of 95 % of the rays.
struct ScaleTension {
    double change = 0, error = 0, transmission = 0;
};
ScaleTension tension(const BodyLevel& level, const FoundScale& found, const BeforeImage& progress);

/// Root mean square residual of the conditions over the root mean square of the total amounts, of
/// amounts over a transmission; empty: as they are.
double inconsistency(const BodyLevel& level, std::span<const float> transmission);

} // namespace xrdct::absorption
