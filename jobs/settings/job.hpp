// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/dlsr_settings.hpp"
#include "jobs/settings/lithium_settings.hpp"
#include "jobs/settings/settings.hpp"
#include "tomography/ramp_filter.hpp"

#include <array>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::settings {

/// How a parameter of the pattern model is treated.
enum class Treatment {
    fixed,  ///< keeps its start value
    global, ///< one value for the whole object, refined on the mean pattern
    voxel   ///< a map: refined in every voxel, starting from the value of the mean pattern
};

struct InputSettings {
    std::filesystem::path file;
    std::string intensity, intensity_errors, rotation, translation, radial, pixels, transmission,
        monitor;                   ///< dataset names; empty: found by the NeXus attributes
    std::vector<std::string> axes; ///< order of the axes of a plain array
    std::string rotation_unit, translation_unit, radial_unit; ///< empty: from the file
    std::vector<double> rotation_range;    ///< first and last [deg], of files without that axis
    std::vector<double> translation_range; ///< first and last [mm], of files without that axis
    bool rotation_range_closed = true; ///< whether a rotation is recorded at the end of the range
    long slice = -1;                   ///< index along a leading height or time axis
};

struct GeometrySettings {
    double wavelength = not_given;           ///< Å
    double energy = not_given;               ///< keV
    double distance = not_given;             ///< mm
    double beam_width = not_given;           ///< mm
    std::optional<double> axis_offset = 0.0; ///< mm; nullopt: find it
    int rotation_sense = 1, translation_sense = 1;
};

struct ChannelSettings {
    double two_theta_min = 0, two_theta_max = 180; ///< degrees
};

enum class NoiseModel { automatic, errors, counts, estimate };

/// Self-absorption correction (zero order).
enum class AbsorptionMethod {
    none,
    transmission, ///< division by the measured transmission
    phases        ///< by the transmission calculated from the phases themselves
};

/// What turns amounts of phases into volumes.
enum class AmountCalibration {
    automatic,    ///< the transmission where it is used, else what the job gives
    transmission, ///< the measured transmission
    ring,         ///< the reference phase is a homogeneous ring (a can)
    plateau,      ///< the plateau of the reference phase's map
    constant,     ///< a given constant
    mass,         ///< mass per length of the sample
    density,      ///< mean density of the sample
    consistency   ///< what makes the corrected scan agree with itself
};

struct AbsorptionSettings {
    AbsorptionMethod method = AbsorptionMethod::none;
    AmountCalibration calibration = AmountCalibration::automatic;
    std::string reference_phase;        ///< of known volume fraction, for ring and plateau
    double reference_fraction = 1;      ///< its volume fraction there
    double constant = not_given;        ///< volume fraction over S V² [1/Å⁶ …], for constant
    double mass_per_length = not_given; ///< mg/mm, without the container
    double mean_density = not_given;    ///< g/cm³, without the container
    bool amorphous_rest = false;        ///< an even attenuation inside is found as well
    std::string container;              ///< formula of its wall; empty: none
    double container_density = not_given;        ///< g/cm³
    double container_outer_diameter = not_given; ///< mm
    double container_inner_diameter = not_given; ///< mm
    std::string filling;                         ///< formula of what fills the rest of the sample
    double filling_density = not_given;          ///< g/cm³
    std::optional<double> hollow_diameter; ///< mm, at the centre of the ring; nullopt: find it
    double sample_threshold = 0.025;       ///< of the 99th percentile of the total image
    long depths = 5;                       ///< places along the beam at which a phase is sought
    double tolerance = 1e-3;               ///< of the transmission
    long max_iterations = 30;
};

/// What a job's amounts are calibrated by; nothing is automatic any more.
AmountCalibration resolved_calibration(const AbsorptionSettings& absorption);
/// Whether a calibration is one for bodies without a can.
bool is_body_calibration(AmountCalibration calibration);

struct FbpSettings {
    tomography::FilterWindow window = tomography::FilterWindow::hann;
    double cutoff = 1;
    long size = 0;    ///< pixels per side; 0: number of translations
    double pixel = 0; ///< mm; 0: the translation step
};

struct MaskSettings {
    /// Of the 99th percentile of the total-intensity image; none: what stands out from nothing.
    std::optional<double> threshold;
    bool phases = true;           ///< derive a mask per phase and fit with it
    double significance = 5;      ///< of a phase's core voxels, scale / e.s.d.
    double fraction = 0.08;       ///< of the phase's 95th percentile of scales
    long growth = 1;              ///< voxels
    std::filesystem::path images; ///< folder of edited masks; empty: none
};

/// Image of the mask of a phase in a folder of masks.
std::filesystem::path mask_file(const std::filesystem::path& folder, const std::string& phase);

struct InstrumentSettings {
    std::filesystem::path file;    ///< of xrdct calibrate; empty: none
    double u = 0, v = 0, w = 4e-4; ///< deg²
    double x = 0, y = 0, z = 0;    ///< deg
    bool polarization_corrected = false;
    bool solid_angle_corrected = true;
    /// Whether the job itself says so; the scan may know better than the defaults.
    bool polarization_stated = false, solid_angle_stated = false;
};

struct RietveldSettings {
    long background_terms = 3;
    std::vector<std::pair<double, double>> excluded; ///< regions of 2θ [deg] that are not fitted
    bool refine_start = true;
    double significance =
        5; ///< scale / e.s.d. below which a phase's cell is not refined in a voxel
    bool anomalous = true;
    long max_iterations = 30;
};

/// Bounds of a refined parameter; infinite: those of the model.
struct Bounds {
    double lower = -std::numeric_limits<double>::infinity();
    double upper = std::numeric_limits<double>::infinity();
};

struct PhaseSettings {
    std::string name;
    std::filesystem::path cif;
    std::string block; ///< data block of the CIF; empty: the first structure
    Treatment scale = Treatment::voxel;
    double start_scale = 1;
    /// Treatment and start value (NaN: from the CIF) of a, b, c, alpha, beta, gamma.
    std::array<Treatment, 6> cell{};
    std::array<double, 6> start_cell{};
    std::array<bool, 6> cell_asked{}; ///< its treatment was set by name, not by `cell`
    std::array<Bounds, 6> cell_bounds{};
    Bounds size_bounds, microstrain_bounds, gauss_microstrain_bounds, displacement_bounds;
    Treatment size_treatment = Treatment::fixed;
    double size = 0; ///< Å; 0: no size broadening
    Treatment microstrain_treatment = Treatment::fixed;
    double microstrain = 0; ///< dimensionless, ε = Δd/d
    Treatment gauss_microstrain_treatment = Treatment::fixed;
    double gauss_microstrain = 0; ///< the same with a Gaussian shape
    /// hkl of the preferred orientation along the layers' normal; 0 0 0: no texture
    std::array<int, 3> march_axis{};
    double march = 1; ///< March coefficient
    Treatment march_treatment = Treatment::fixed;
    Treatment displacement_treatment = Treatment::fixed;
    double displacement = 0; ///< Å², overall B added to the CIF's
    Treatment depth_treatment = Treatment::fixed;
    double depth = 0; ///< mm along the beam, see PhaseModel::depth; patterns only
    Bounds depth_bounds;
};

struct PeakSettings {
    std::string name;
    double position = 0; ///< degrees 2θ
    double fwhm = 0.1;   ///< degrees 2θ
    double mixing = 0.5; ///< Lorentz fraction
    Treatment position_treatment = Treatment::global;
    Treatment fwhm_treatment = Treatment::global;
    Treatment mixing_treatment = Treatment::fixed;
    Bounds position_bounds, fwhm_bounds; ///< infinite: within a FWHM; a quarter to four times
};

/// Everything a run needs, as read from a job file. Paths are absolute or relative to the job
/// file's folder.
struct Job {
    std::string title;
    std::filesystem::path source; ///< the job file
    std::vector<std::string> stages;
    std::filesystem::path output;
    std::vector<std::string> scans; ///< of a campaign, as written; empty: a single scan
    InputSettings input;
    GeometrySettings geometry;
    ChannelSettings channels;
    NoiseModel noise = NoiseModel::automatic;
    AbsorptionSettings absorption;
    FbpSettings fbp;
    MaskSettings mask;
    InstrumentSettings instrument;
    RietveldSettings rietveld;
    DlsrSettings dlsr;
    std::vector<PhaseSettings> phases;
    std::vector<PeakSettings> peaks;
    std::vector<LithiumSettings> lithium; ///< for the report

    std::vector<std::string> notes; ///< what an instrument file gave, in words

    std::string resolved; ///< the whole job with every default filled in, as TOML
    /// The part of the resolved job that decides the product of a stage.
    std::string resolved_for(const std::string& stage) const;
    std::vector<std::pair<std::string, std::string>> resolved_stages;

    /// Whether the job names a stage.
    bool names_stage(const std::string& stage) const;
};

/// The stages in the order in which they run, see StageRules.
const std::vector<std::string>& stage_names();

/// Reads a job from TOML text. Throws Error naming the file and key for a syntax error, an unknown
/// key (with the nearest known one), a wrong type, a value out of range, a phase named twice, a
/// missing required key. Opens no file but the instrument file, if the job names one.
Job parse_job(const std::string& text, const std::filesystem::path& source,
              const std::vector<std::string>& overrides = {});

/// Reads the file at `path` and parses it.
Job read_job(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});

/// The table [input], which jobs of several commands share; `source` is the job file.
InputSettings read_input(Settings& settings, const std::filesystem::path& source);

/// The parameter reference: every key with type, unit, default and meaning.
std::vector<SettingDescription> job_reference();

} // namespace xrdct::settings
