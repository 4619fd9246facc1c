// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "solvers/least_squares_problem.hpp"

#include <Eigen/Dense>

#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace xrdct::test {

/// A small least-squares problem of which every rank computes the whole and owns a block: f is the
/// same to the last bit however the unknowns are spread.
class DenseProblem : public solvers::LeastSquaresProblem {
  public:
    using Model = std::function<void(const Eigen::VectorXd& x, Eigen::VectorXd& r,
                                     Eigen::MatrixXd* jacobian)>;
    enum class Preconditioner { none, diagonal };

    DenseProblem(const mpi::Communicator& communicator, std::size_t n, Model model,
                 Preconditioner preconditioner = Preconditioner::none)
        : lower(Eigen::VectorXd::Constant(static_cast<Eigen::Index>(n),
                                          -std::numeric_limits<double>::infinity())),
          upper(-lower), communicator_(communicator), model_(std::move(model)),
          preconditioner_(preconditioner),
          range_(mpi::block_range(n, static_cast<std::size_t>(communicator.size()),
                                  static_cast<std::size_t>(communicator.rank()))) {}

    Eigen::VectorXd lower, upper; ///< of the whole
    /// Called first in every member with its name.
    std::function<void(const std::string&)> hook = [](const std::string&) {};

    const mpi::BlockRange& range() const { return range_; }
    std::size_t local_size() const override { return range_.size(); }

    std::vector<double> own(const Eigen::VectorXd& whole) const {
        return {whole.data() + range_.begin, whole.data() + range_.end};
    }
    Eigen::VectorXd whole(std::span<const double> share) const {
        const std::vector<double> all = communicator_.allgather(share);
        return Eigen::Map<const Eigen::VectorXd>(all.data(), static_cast<Eigen::Index>(all.size()));
    }

    void bounds(std::span<double> low, std::span<double> high) const override {
        copy(lower, low);
        copy(upper, high);
    }
    double objective(std::span<const double> x) override {
        hook("objective");
        Eigen::VectorXd r;
        model_(whole(x), r, nullptr);
        return 0.5 * r.squaredNorm();
    }
    double objective_and_gradient(std::span<const double> x, std::span<double> gradient) override {
        hook("objective_and_gradient");
        Eigen::VectorXd r;
        Eigen::MatrixXd jacobian;
        model_(whole(x), r, &jacobian);
        copy(jacobian.transpose() * r, gradient);
        return 0.5 * r.squaredNorm();
    }
    void linearise(std::span<const double> x) override {
        hook("linearise");
        Eigen::VectorXd r;
        Eigen::MatrixXd jacobian;
        model_(whole(x), r, &jacobian);
        hessian = jacobian.transpose() * jacobian;
    }
    void gauss_newton_product(std::span<const double> v, std::span<double> out) override {
        hook("gauss_newton_product");
        copy(hessian * whole(v), out);
    }
    void precondition(std::span<const double> v, std::span<double> out) override {
        hook("precondition");
        for (std::size_t i = 0; i < v.size(); ++i) {
            const auto k = static_cast<Eigen::Index>(range_.begin + i);
            out[i] = preconditioner_ == Preconditioner::none ? v[i] : v[i] / hessian.diagonal()[k];
        }
    }

    Eigen::MatrixXd hessian; ///< at the point of linearise()

  private:
    void copy(const Eigen::VectorXd& whole, std::span<double> share) const {
        std::copy_n(whole.data() + range_.begin, share.size(), share.begin());
    }

    const mpi::Communicator& communicator_;
    Model model_;
    Preconditioner preconditioner_;
    mpi::BlockRange range_;
};

/// Pairs of unknowns with the residuals 10 (b − a²) and 1 − a: minimum at 1, 1.
inline DenseProblem::Model rosenbrock() {
    return [](const Eigen::VectorXd& x, Eigen::VectorXd& r, Eigen::MatrixXd* jacobian) {
        r.resize(x.size());
        if (jacobian != nullptr)
            jacobian->setZero(x.size(), x.size());
        for (Eigen::Index i = 0; i < x.size(); i += 2) {
            r[i] = 10 * (x[i + 1] - x[i] * x[i]);
            r[i + 1] = 1 - x[i];
            if (jacobian != nullptr) {
                (*jacobian)(i, i) = -20 * x[i];
                (*jacobian)(i, i + 1) = 10;
                (*jacobian)(i + 1, i) = -1;
            }
        }
    };
}

inline DenseProblem::Model linear(const Eigen::MatrixXd& matrix, const Eigen::VectorXd& data) {
    return [=](const Eigen::VectorXd& x, Eigen::VectorXd& r, Eigen::MatrixXd* jacobian) {
        r = matrix * x - data;
        if (jacobian != nullptr)
            *jacobian = matrix;
    };
}

inline Eigen::MatrixXd random_matrix(Eigen::Index rows, Eigen::Index columns, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<double> normal;
    return Eigen::MatrixXd::NullaryExpr(rows, columns, [&](auto, auto) { return normal(engine); });
}

} // namespace xrdct::test
