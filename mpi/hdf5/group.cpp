// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/hdf5/internal.hpp"

#include "base/names.hpp"

#include <algorithm>
#include <set>

namespace xrdct::hdf5 {

using namespace detail;

namespace {

std::vector<std::string> split_path(const std::string& path) {
    std::vector<std::string> parts;
    std::size_t begin = 0;
    while (begin < path.size()) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        if (end > begin && path.substr(begin, end - begin) != ".")
            parts.push_back(path.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

bool exists(hid_t file, const std::string& path) {
    std::string partial;
    for (const std::string& part : split_path(path)) {
        partial += "/" + part;
        if (H5Lexists(file, partial.c_str(), H5P_DEFAULT) <= 0 ||
            H5Oexists_by_name(file, partial.c_str(), H5P_DEFAULT) <= 0)
            return false;
    }
    return true;
}

Kind kind_of(hid_t file, const std::string& path) {
    const Handle object(H5Oopen(file, path.empty() ? "/" : path.c_str(), H5P_DEFAULT));
    if (object.get() < 0)
        return Kind::other;
    switch (H5Iget_type(object.get())) {
    case H5I_GROUP:
        return Kind::group;
    case H5I_DATASET:
        return Kind::dataset;
    default:
        return Kind::other;
    }
}

} // namespace

Group::Group(std::shared_ptr<detail::FileState> file, Handle handle, std::string path)
    : Object(std::move(file), std::move(handle), std::move(path)) {}

std::string Group::absolute(const std::string& path) const {
    const auto parts = split_path(path);
    std::string result = !path.empty() && path.front() == '/' ? "" : (path_ == "/" ? "" : path_);
    for (const std::string& part : parts) {
        if (part == "..")
            result.erase(std::min(result.rfind('/'), result.size()));
        else
            result += "/" + part;
    }
    return result.empty() ? "/" : result;
}

namespace {

/// Names of all links of a group, sorted.
std::vector<std::string> link_names(hid_t group, const std::string& where) {
    H5G_info_t info{};
    checked(H5Gget_info(group, &info), where, "listing the group");
    std::vector<std::string> names;
    for (hsize_t i = 0; i < info.nlinks; ++i) {
        const ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT);
        checked(length, where, "listing the group");
        std::string name(static_cast<std::size_t>(length) + 1, '\0');
        H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(),
                           H5P_DEFAULT);
        name.pop_back();
        names.push_back(std::move(name));
    }
    return names;
}

} // namespace

std::vector<Entry> Group::entries() const {
    std::vector<Entry> found;
    for (auto& name : link_names(id(), describe()))
        if (H5Oexists_by_name(id(), name.c_str(), H5P_DEFAULT) > 0) {
            const Kind kind = kind_of(id(), name);
            found.push_back({std::move(name), kind});
        }
    return found;
}

std::vector<std::string> Group::dead_links() const {
    std::vector<std::string> dead;
    for (auto& name : link_names(id(), describe()))
        if (H5Oexists_by_name(id(), name.c_str(), H5P_DEFAULT) <= 0)
            dead.push_back(std::move(name));
    return dead;
}

bool Group::has(const std::string& path) const {
    return exists(file_->id.get(), absolute(path));
}

bool Group::has_dataset(const std::string& path) const {
    return has(path) && kind_of(file_->id.get(), absolute(path)) == Kind::dataset;
}

bool Group::has_group(const std::string& path) const {
    return has(path) && kind_of(file_->id.get(), absolute(path)) == Kind::group;
}

namespace {

std::string not_there(const Group& root, const std::string& path, Kind kind, bool other_kind) {
    const char* word = kind == Kind::group ? "group" : "dataset";
    std::string message = root.file_path().string() + ": ";
    if (other_kind)
        return message + path + " is not a " + word;
    std::vector<std::string> candidates;
    root.visit([&](const std::string& found, Kind found_kind) {
        if (found_kind == kind)
            candidates.push_back("/" + found);
    });
    message += "no " + std::string(word) + " " + path;
    if (candidates.empty())
        return message + "; the file has no " + word + "s";
    message += "; nearest:";
    for (const std::string& name : nearest_names(path, candidates))
        message += " " + name;
    return message;
}

} // namespace

Group Group::open_group(const std::string& path) const {
    const std::string full = absolute(path);
    const hid_t file = file_->id.get();
    if (!exists(file, full) || kind_of(file, full) != Kind::group)
        throw Error(not_there(Group(file_, Handle(H5Gopen2(file, "/", H5P_DEFAULT)), "/"), full,
                              Kind::group, exists(file, full)));
    return {file_,
            own(H5Gopen2(file, full.c_str(), H5P_DEFAULT), file_->path.string() + ":" + full,
                "opening the group"),
            full};
}

namespace {

/// What reading or writing index after index of the slowest axis needs to touch every chunk once:
/// the chunks that share their slowest index, 64 MiB at most.
std::size_t usual_cache(const Shape& shape, const std::vector<hsize_t>& chunk,
                        std::size_t element) {
    std::size_t bytes = element;
    for (std::size_t d = 0; d < chunk.size(); ++d)
        bytes *= d == 0 ? chunk[d] : (shape[d] + chunk[d] - 1) / chunk[d] * chunk[d];
    return std::clamp<std::size_t>(bytes, std::size_t{1} << 20, std::size_t{64} << 20);
}

Handle access_with_cache(std::size_t bytes, const std::string& where) {
    Handle properties = own(H5Pcreate(H5P_DATASET_ACCESS), where, "preparing to open the dataset");
    // A prime number of slots, far more than chunks that fit.
    checked(H5Pset_chunk_cache(properties.get(), 12421, bytes, 0.75), where,
            "setting the chunk cache");
    return properties;
}

} // namespace

Dataset Group::open_dataset(const std::string& path, std::size_t chunk_cache_bytes) const {
    const std::string full = absolute(path);
    const hid_t file = file_->id.get();
    if (!exists(file, full) || kind_of(file, full) != Kind::dataset)
        throw Error(not_there(Group(file_, Handle(H5Gopen2(file, "/", H5P_DEFAULT)), "/"), full,
                              Kind::dataset, exists(file, full)));
    const std::string where = file_->path.string() + ":" + full;
    const auto open = [&](hid_t properties) {
        return Dataset(file_,
                       own(H5Dopen2(file, full.c_str(), properties), where, "opening the dataset"),
                       full);
    };
    if (chunk_cache_bytes == 0) {
        Dataset dataset = open(H5P_DEFAULT);
        const Shape chunk = dataset.storage().chunk;
        if (chunk.empty())
            return dataset;
        const Handle type = own(H5Dget_type(dataset.id()), where, "reading the element type");
        chunk_cache_bytes =
            usual_cache(dataset.shape(), {chunk.begin(), chunk.end()}, H5Tget_size(type.get()));
    }
    return open(access_with_cache(chunk_cache_bytes, where).get());
}

Group Group::create_group(const std::string& path) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const Handle properties = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a group");
    H5Pset_create_intermediate_group(properties.get(), 1);
    return {
        file_,
        own(H5Gcreate2(file_->id.get(), full.c_str(), properties.get(), H5P_DEFAULT, H5P_DEFAULT),
            where, "creating the group"),
        full};
}

Group Group::require_group(const std::string& path) {
    return has(path) ? open_group(path) : create_group(path);
}

Dataset Group::create_dataset(const std::string& path, ElementType type, const Shape& shape,
                              const Storage& storage) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const Handle links = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a dataset");
    H5Pset_create_intermediate_group(links.get(), 1);
    const Handle properties = own(H5Pcreate(H5P_DATASET_CREATE), where, "preparing a dataset");
    H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
    std::vector<hsize_t> chunk;
    if (!storage.chunk.empty()) {
        if (storage.chunk.size() != shape.size())
            throw Error(where + ": chunks of rank " + std::to_string(storage.chunk.size()) +
                        " for a shape of rank " + std::to_string(shape.size()));
        for (std::size_t d = 0; d < shape.size(); ++d)
            chunk.push_back(
                std::clamp<std::size_t>(storage.chunk[d], 1, std::max<std::size_t>(shape[d], 1)));
        checked(H5Pset_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data()), where,
                "setting the chunks");
        if (storage.gzip > 0) {
            if (storage.shuffle)
                checked(H5Pset_shuffle(properties.get()), where, "setting the shuffle filter");
            checked(H5Pset_deflate(properties.get(), static_cast<unsigned>(storage.gzip)), where,
                    "setting the compression");
        }
    } else if (storage.gzip > 0) {
        throw Error(where + ": compression needs chunks");
    }
    if (storage.gzip == 0) {
        checked(H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY), where,
                "setting the allocation");
        file_->agree_on_writing(
            file_->beyond_size_limit(product(shape) * H5Tget_size(stored_type(type))));
    }
    const Handle space = simple_space(shape, where);
    const Handle access =
        access_with_cache(usual_cache(shape, chunk, H5Tget_size(stored_type(type))), where);
    return {file_,
            own(H5Dcreate2(file_->id.get(), full.c_str(), stored_type(type), space.get(),
                           links.get(), properties.get(), access.get()),
                where, "creating the dataset"),
            full};
}

Dataset Group::write_numbers(const std::string& path, const Shape& shape, const void* values,
                             std::size_t n, ElementType type, const Storage& storage) {
    if (product(shape) != n)
        throw Error(file_->path.string() + ":" + absolute(path) + ": " + std::to_string(n) +
                    " values given for the shape " + text_of(shape));
    Dataset dataset = create_dataset(path, type, shape, storage);
    if (n == 0)
        return dataset;
    if (file_->is_root()) {
        dataset.write_numbers(nullptr, values, n, type, Transfer::collective);
    } else {
        const Selection none{Shape(shape.size(), 0), Shape(shape.size(), 0)};
        if (shape.empty()) {
            // A scalar cannot be selected in part: all ranks write the same value.
            dataset.write_numbers(nullptr, values, n, type, Transfer::collective);
        } else {
            dataset.write_numbers(&none, nullptr, 0, type, Transfer::collective);
        }
    }
    return dataset;
}

namespace {

Handle create_text_dataset(hid_t file, const std::string& full, const std::string& where,
                           hid_t type, hid_t space) {
    const Handle links = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a dataset");
    H5Pset_create_intermediate_group(links.get(), 1);
    return own(H5Dcreate2(file, full.c_str(), type, space, links.get(), H5P_DEFAULT, H5P_DEFAULT),
               where, "creating the dataset");
}

} // namespace

Dataset Group::write_strings(const std::string& path, const std::vector<std::string>& texts) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const auto [type, bytes] = fixed_texts(texts, where);
    const Handle space = simple_space({texts.size()}, where);
    Dataset dataset(
        file_, create_text_dataset(file_->id.get(), full, where, type.get(), space.get()), full);
    std::optional<std::string> error;
    if (!texts.empty() && file_->is_root() &&
        H5Dwrite(dataset.id(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
        error = where + ": writing failed: " + reason();
    file_->agree(error);
    return dataset;
}

Dataset Group::write_string(const std::string& path, const std::string& text) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const auto [type, bytes] = fixed_texts({&text, 1}, where);
    const Handle space = simple_space({}, where);
    Dataset dataset(
        file_, create_text_dataset(file_->id.get(), full, where, type.get(), space.get()), full);
    std::optional<std::string> error;
    if (file_->is_root() &&
        H5Dwrite(dataset.id(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
        error = where + ": writing failed: " + reason();
    file_->agree(error);
    return dataset;
}

Dataset Group::write_scalar(const std::string& path, double value) {
    return write_numbers(path, {}, &value, 1, ElementType::float64, {});
}

Dataset Group::write_scalar(const std::string& path, std::int64_t value) {
    return write_numbers(path, {}, &value, 1, ElementType::int64, {});
}

void Group::create_soft_link(const std::string& path, const std::string& target) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    const Handle links = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a link");
    H5Pset_create_intermediate_group(links.get(), 1);
    checked(H5Lcreate_soft(target.c_str(), file_->id.get(), full.c_str(), links.get(), H5P_DEFAULT),
            where, "creating the link");
}

void Group::visit(const std::function<void(const std::string&, Kind)>& visitor) const {
    std::set<std::pair<unsigned long, haddr_t>> seen;
    const auto first_visit = [&](hid_t object) {
        H5O_info_t info{};
        return H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0 ||
               seen.emplace(info.fileno, info.addr).second;
    };
    const std::function<void(const Group&, const std::string&)> descend =
        [&](const Group& group, const std::string& prefix) {
            for (const Entry& entry : group.entries()) {
                const Handle object(H5Oopen(group.id(), entry.name.c_str(), H5P_DEFAULT));
                if (object.get() < 0 || !first_visit(object.get()))
                    continue;
                const std::string path = prefix + entry.name;
                visitor(path, entry.kind);
                if (entry.kind == Kind::group)
                    descend(group.open_group(entry.name), path + "/");
            }
        };
    first_visit(id());
    descend(*this, "");
}

bool is_same_object(const Object& a, const Object& b) {
#if H5_VERSION_GE(1, 12, 0)
    H5O_info1_t of_a, of_b;
    const bool known = H5Oget_info1(a.id(), &of_a) >= 0 && H5Oget_info1(b.id(), &of_b) >= 0;
#else
    H5O_info_t of_a, of_b;
    const bool known = H5Oget_info2(a.id(), &of_a, H5O_INFO_BASIC) >= 0 &&
                       H5Oget_info2(b.id(), &of_b, H5O_INFO_BASIC) >= 0;
#endif
    return known && of_a.fileno == of_b.fileno && of_a.addr == of_b.addr;
}

Group parent_of(const Object& object) {
    const Group root(object.file_, Handle(H5Gopen2(object.file_->id.get(), "/", H5P_DEFAULT)), "/");
    const std::size_t slash = object.path().rfind('/');
    return root.open_group(slash == 0 ? "/" : object.path().substr(0, slash));
}

} // namespace xrdct::hdf5
