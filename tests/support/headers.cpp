// SPDX-License-Identifier: BSD-3-Clause
// The target that precompiles what tests include needs a source of its own.
