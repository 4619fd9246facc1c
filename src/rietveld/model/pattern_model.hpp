// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "rietveld/model/peak_profile.hpp"
#include "rietveld/model/radial_axis.hpp"

#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::rietveld {

/// A number of the model, and whether a refinement may change it.
struct Parameter {
    double value = 0;
    bool refine = false;
    double lower = -std::numeric_limits<double>::infinity();
    double upper = std::numeric_limits<double>::infinity();
};

/// How the sample displacement moves lines.
enum class DiffractionGeometry {
    area_detector, ///< flat detector normal to the beam: tan 2θ' = (1 − displacement / distance)
                   ///< tan 2θ
    bragg_brentano, ///< Δ2θ [rad] = −2 displacement cos θ / distance (distance: goniometer radius)
};

/// A second wavelength of the source, such as Kα2.
struct SecondWavelength {
    double wavelength = 0; ///< Å
    double ratio = 0.5;    ///< of its intensity to that of the first
};

/// Preferred orientation about a fibre axis, see crystal/march_dollase.hpp.
struct MarchTexture {
    crystal::Miller axis{};           ///< hkl along the fibre axis; 0 0 0: no texture
    double r = 1;                     ///< March coefficient
    std::vector<double> harmonics{1}; ///< lines get the factors Σ_h harmonics[h] m_2h(r)
    bool any() const { return axis != crystal::Miller{}; }
    bool operator==(const MarchTexture&) const = default;
};

/// The range that a cell parameter [Å, deg] may take in a fit that starts at `start`: half to twice
/// a length; 20° to 160° for an angle, or half way to 0° and 180° where that is wider.
std::pair<double, double> cell_range(crystal::CellParameter parameter, double start);

/// A crystalline phase of the pattern: y = scale · Σ_lines m|F|² LP exp(−2 B sin²θ/λ²) Ω.
struct PhaseModel {
    /// Cell parameters and name from the phase; nothing refined but the scale.
    explicit PhaseModel(crystal::Phase phase, std::string name = {});

    std::string name; ///< unique in a model; one structure may serve two phases
    crystal::Phase phase;
    Parameter scale{1, true, 0, std::numeric_limits<double>::infinity()};
    std::vector<Parameter>
        cell; ///< independent parameters, order of phase.free_parameters() [Å, deg]
    Parameter size{infinite_size, false, 5,
                   infinite_size};           ///< crystallite size [Å]; infinity: no broadening
    Parameter microstrain{0, false, 0, 0.1}; ///< ε, see peak_widths()
    Parameter gauss_microstrain{0, false, 0, 0.1}; ///< ε_G, see peak_widths()
    Parameter b_overall{0, false, -5, 20};         ///< added to the atoms' own B [Å²]
    /// Place along the beam [mm], positive towards the detector, for a part of the sample away from
    /// the centre (parallax): tan 2θ' = (1 − (displacement + depth) / D) tan 2θ, intensity
    /// (D / (D − depth))². Area detectors only; a refined depth needs a fixed cell.
    Parameter depth;

    /// The angles between reflections and the axis are those of the cell at the calculator's
    /// construction.
    MarchTexture texture;

    /// Factors on the lines' intensities, in the order of PatternCalculator::reflections; empty or
    /// beyond the end: 1. Set by a refinement that extracts intensities; tied to the calculator's
    /// line list.
    std::vector<double> line_factors;

    double line_factor(std::size_t line) const {
        return line < line_factors.size() ? line_factors[line] : 1;
    }
    void refine_cell(bool refine = true);
    crystal::UnitCell unit_cell() const; ///< of the current values
};

/// A peak of a component without a structure (separator): a pseudo-Voigt with a fixed place in 2θ.
struct SinglePeak {
    std::string name;
    Parameter position;                   ///< deg 2θ
    Parameter fwhm{0.3, false, 1e-3, 30}; ///< deg
    Parameter mixing{0.5, false, 0, 1};
    Parameter area{0, true, 0, std::numeric_limits<double>::infinity()}; ///< intensity · deg
};

struct InstrumentParameters {
    Parameter u, v, w, x, y, z;
    InstrumentParameters() = default;
    explicit InstrumentParameters(const InstrumentProfile& profile);
    InstrumentProfile profile() const;
};

/// Everything a calculated pattern depends on; plain data.
struct PatternModel {
    Parameter wavelength; ///< Å; 0: that of the axis
    InstrumentParameters instrument;
    Parameter zero;         ///< deg, added to every line's 2θ
    Parameter displacement; ///< mm, see DiffractionGeometry
    DiffractionGeometry geometry = DiffractionGeometry::area_detector;
    double distance = 0; ///< mm; needed when displacement is not 0 or refined

    /// K in the polarisation factor (1 + K cos²2θ) / (1 + K): 1 unpolarised beam or full rings, 0
    /// removed by the integration, cos²2θ_m behind a monochromator. Lorentz factor 1 / (sin²θ cos
    /// θ).
    double polarisation = 1;
    bool solid_angle_corrected = true; ///< false: × cos³2θ (flat area detector)
    bool anomalous = true;             ///< f′ and f″ at the wavelength
    std::optional<SecondWavelength> second;
    double profile_range = default_profile_range; ///< FWHM

    std::vector<PhaseModel> phases;
    /// Coefficients of Chebyshev polynomials T_0 … over the axis, first centre −1, last centre +1.
    std::vector<Parameter> background;
    std::vector<SinglePeak> peaks;

    void set_background(std::size_t terms); ///< refined terms, all 0
    /// Index of a phase; throws Error if there is none of that name.
    std::size_t find_phase(const std::string& name) const;
};

/// A parameter of a model by place; names are "zero", "background 2", "Cu scale", "NMC532 a",
/// "separator area", …
struct NamedParameter {
    std::string name;
    std::string unit;
    int phase = -1; ///< index of its phase, or −1
    Parameter* parameter = nullptr;
};
/// All parameters of a model in a fixed order; pointers into `model`.
std::vector<NamedParameter> list_parameters(PatternModel& model);

/// Lorentz–polarisation factor with solid angle as in PatternModel, at `two_theta` [deg].
double lorentz_polarisation(const PatternModel& model, double two_theta);

/// Apparent 2θ [deg] of a line at Bragg angle `two_theta` [deg]: zero shift and displacement
/// applied, for matter at `depth` [mm], see PhaseModel::depth.
double apparent_two_theta(const PatternModel& model, double two_theta, double depth = 0);

/// A calculated line, for tick marks and R_Bragg.
struct PatternLine {
    std::size_t phase = 0;
    crystal::Miller hkl{};
    int multiplicity = 0;
    double d = 0;         ///< Å
    double two_theta = 0; ///< apparent [deg], first wavelength
    double intensity = 0; ///< integrated, scale included [intensity · deg]
};

/// Calculates patterns of a model on an axis. The line lists are made once, for cells within
/// ±`cell_margin` (relative) of those at construction. const calls are thread-safe.
class PatternCalculator {
  public:
    /// Throws Error for: a phase named twice or not named, a phase without a line in range, a
    /// wavelength ≤ 0, a March coefficient out of its range, displacement or depth without
    /// distance, a depth of Bragg–Brentano geometry or beyond half the distance, bounds that
    /// exclude the value, widths that vanish.
    PatternCalculator(const RadialAxis& axis, const PatternModel& model, double cell_margin = 0.06);

    const RadialAxis& axis() const { return axis_; }

    /// y [n] of `model`, which must have the phases, background terms and peaks of construction.
    void evaluate(const PatternModel& model, std::span<double> y) const;

    /// y and its derivatives with respect to `parameters` (indices into list_parameters(model)):
    /// jacobian[j · n + k] = ∂y_k / ∂parameter_j; for sizes ∂y / ∂(1/size), for Gaussian
    /// microstrains ∂y / ∂(ε_G²): these are regular where there is no broadening.
    void evaluate(const PatternModel& model, std::span<const std::size_t> parameters,
                  std::span<double> y, std::span<double> jacobian) const;

    /// Pattern of one phase, scale included.
    void evaluate_phase(const PatternModel& model, std::size_t phase, std::span<double> y) const;
    void evaluate_background(const PatternModel& model, std::span<double> y) const;
    /// Chebyshev polynomial of one order on the axis.
    void chebyshev(std::size_t order, std::span<double> y) const;

    /// Lines whose apparent position lies on the axis, by phase and rising 2θ.
    std::vector<PatternLine> lines(const PatternModel& model) const;
    /// The merged reflections of a phase the calculator works with (fixed list, see cell_margin).
    /// The intensities of a textured phase hold the factors of its texture at construction.
    const std::vector<crystal::PowderLine>& reflections(std::size_t phase) const {
        return lines_[phase];
    }
    /// Factors m_2h(r) [line][harmonic < count] of a textured phase's lines. Throws Error for a
    /// phase without texture.
    std::vector<std::vector<double>> ring_harmonics(std::size_t phase, double r,
                                                    std::size_t count) const;

  private:
    /// Takes a phase in whose reflections are `families`.
    void add_lines(const PatternModel& model, const PhaseModel& phase,
                   const std::vector<crystal::Reflection>& families);
    /// Of a phase whose texture is not the one at construction: factors [line] to get from that one
    /// to its own; else empty.
    std::vector<double> texture_factors(const PhaseModel& phase, std::size_t index) const;

    RadialAxis axis_;
    std::vector<std::vector<crystal::PowderLine>> lines_;
    struct Texture {
        MarchTexture made;                        ///< at construction
        std::vector<std::vector<double>> moments; ///< [line][term]
        std::vector<double> factors;              ///< [line], contained in the lines
    };
    std::vector<Texture> textures_;
};

} // namespace xrdct::rietveld
