// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/hdf5/internal.hpp"

#include <algorithm>
#include <cctype>

namespace xrdct::hdf5 {

namespace detail {

/// The innermost description on HDF5's error stack: what really went wrong.
std::string reason() {
    std::string text;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned, const H5E_error2_t* error, void* data) -> herr_t {
            auto& out = *static_cast<std::string*>(data);
            if (out.empty() && error->desc != nullptr)
                out = error->desc;
            return 0;
        },
        &text);
    return text.empty() ? "HDF5 gives no reason" : text;
}

hid_t memory_type(ElementType type) {
    switch (type) {
    case ElementType::float32:
        return H5T_NATIVE_FLOAT;
    case ElementType::float64:
        return H5T_NATIVE_DOUBLE;
    case ElementType::int8:
        return H5T_NATIVE_INT8;
    case ElementType::uint8:
        return H5T_NATIVE_UINT8;
    case ElementType::int16:
        return H5T_NATIVE_INT16;
    case ElementType::uint16:
        return H5T_NATIVE_UINT16;
    case ElementType::int32:
        return H5T_NATIVE_INT32;
    case ElementType::uint32:
        return H5T_NATIVE_UINT32;
    case ElementType::int64:
        return H5T_NATIVE_INT64;
    case ElementType::uint64:
        return H5T_NATIVE_UINT64;
    default:
        throw Error("only numbers can be read into or written from memory");
    }
}

hid_t stored_type(ElementType type) {
    switch (type) {
    case ElementType::float32:
        return H5T_IEEE_F32LE;
    case ElementType::float64:
        return H5T_IEEE_F64LE;
    case ElementType::int8:
        return H5T_STD_I8LE;
    case ElementType::uint8:
        return H5T_STD_U8LE;
    case ElementType::int16:
        return H5T_STD_I16LE;
    case ElementType::uint16:
        return H5T_STD_U16LE;
    case ElementType::int32:
        return H5T_STD_I32LE;
    case ElementType::uint32:
        return H5T_STD_U32LE;
    case ElementType::int64:
        return H5T_STD_I64LE;
    case ElementType::uint64:
        return H5T_STD_U64LE;
    default:
        throw Error("only datasets of numbers are created by element type");
    }
}

/// FALSE and TRUE of h5py, or a byte of bits of PyTables.
bool is_boolean(hid_t type) {
    if (H5Tget_class(type) == H5T_BITFIELD)
        return H5Tget_size(type) == 1;
    if (H5Tget_class(type) != H5T_ENUM || H5Tget_nmembers(type) != 2)
        return false;
    std::string names;
    for (const unsigned i : {0U, 1U}) {
        char* name = H5Tget_member_name(type, i);
        if (name == nullptr)
            return false;
        for (const char* c = name; *c != '\0'; ++c)
            names += static_cast<char>(std::toupper(static_cast<unsigned char>(*c)));
        names += ' ';
        H5free_memory(name);
    }
    return names == "FALSE TRUE " || names == "TRUE FALSE ";
}

ElementType element_type_of_id(hid_t type) {
    const H5T_class_t type_class = H5Tget_class(type);
    const std::size_t size = H5Tget_size(type);
    if (type_class == H5T_STRING)
        return ElementType::string;
    if (type_class == H5T_FLOAT)
        return size == 4   ? ElementType::float32
               : size == 8 ? ElementType::float64
                           : ElementType::other;
    if (type_class == H5T_INTEGER) {
        const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
        switch (size) {
        case 1:
            return is_signed ? ElementType::int8 : ElementType::uint8;
        case 2:
            return is_signed ? ElementType::int16 : ElementType::uint16;
        case 4:
            return is_signed ? ElementType::int32 : ElementType::uint32;
        case 8:
            return is_signed ? ElementType::int64 : ElementType::uint64;
        default:
            return ElementType::other;
        }
    }
    return is_boolean(type) ? ElementType::boolean : ElementType::other;
}

bool is_number(hid_t type) {
    const H5T_class_t type_class = H5Tget_class(type);
    return type_class == H5T_FLOAT || type_class == H5T_INTEGER || is_boolean(type);
}

Shape shape_of_space(hid_t space) {
    const int rank = H5Sget_simple_extent_ndims(space);
    Shape shape(static_cast<std::size_t>(std::max(rank, 0)));
    std::vector<hsize_t> dims(shape.size());
    if (rank > 0)
        H5Sget_simple_extent_dims(space, dims.data(), nullptr);
    std::copy(dims.begin(), dims.end(), shape.begin());
    return shape;
}

std::size_t product(const Shape& shape) {
    std::size_t n = 1;
    for (const std::size_t extent : shape)
        n *= extent;
    return n;
}

std::string text_of(const Shape& shape) {
    std::string text = "[";
    for (const std::size_t extent : shape)
        text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
    return text + "]";
}

Handle simple_space(const Shape& shape, const std::string& where) {
    if (shape.empty())
        return own(H5Screate(H5S_SCALAR), where, "making a data space");
    const std::vector<hsize_t> dims(shape.begin(), shape.end());
    return own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), where,
               "making a data space");
}

/// A fixed-length UTF-8 type that holds all the texts, and their bytes in it.
std::pair<Handle, std::vector<char>> fixed_texts(std::span<const std::string> texts,
                                                 const std::string& where) {
    std::size_t length = 1;
    for (const std::string& text : texts)
        length = std::max(length, text.size());
    Handle type = own(H5Tcopy(H5T_C_S1), where, "making a string type");
    checked(H5Tset_size(type.get(), length), where, "making a string type");
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
    H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
    std::vector<char> bytes(std::max<std::size_t>(1, texts.size()) * length, '\0');
    for (std::size_t i = 0; i < texts.size(); ++i)
        std::copy(texts[i].begin(), texts[i].end(),
                  bytes.begin() + static_cast<std::ptrdiff_t>(i * length));
    return {std::move(type), std::move(bytes)};
}

} // namespace detail

using namespace detail;

std::string name_of(ElementType type) {
    switch (type) {
    case ElementType::float32:
        return "float32";
    case ElementType::float64:
        return "float64";
    case ElementType::int8:
        return "int8";
    case ElementType::uint8:
        return "uint8";
    case ElementType::int16:
        return "int16";
    case ElementType::uint16:
        return "uint16";
    case ElementType::int32:
        return "int32";
    case ElementType::uint32:
        return "uint32";
    case ElementType::int64:
        return "int64";
    case ElementType::uint64:
        return "uint64";
    case ElementType::boolean:
        return "boolean";
    case ElementType::string:
        return "string";
    case ElementType::other:
        break;
    }
    return "other";
}

Object::Object(std::shared_ptr<detail::FileState> file, Handle handle, std::string path)
    : file_(std::move(file)), handle_(std::move(handle)), path_(std::move(path)) {}

Object& Object::operator=(Object&& other) noexcept {
    // The old object goes before its file.
    handle_ = std::move(other.handle_);
    file_ = std::move(other.file_);
    path_ = std::move(other.path_);
    return *this;
}

const std::filesystem::path& Object::file_path() const {
    return file_->path;
}

std::string Object::describe() const {
    return file_->path.string() + ":" + path_;
}

bool Object::has_attribute(const std::string& name) const {
    return H5Aexists(id(), name.c_str()) > 0;
}

std::vector<std::string> Object::attribute_names() const {
    std::vector<std::string> names;
    hsize_t position = 0;
    H5Aiterate2(
        id(), H5_INDEX_NAME, H5_ITER_INC, &position,
        [](hid_t, const char* name, const H5A_info_t*, void* data) -> herr_t {
            static_cast<std::vector<std::string>*>(data)->emplace_back(name);
            return 0;
        },
        &names);
    return names;
}

namespace {

void write_attribute(const Object& object, const std::string& name, hid_t stored, hid_t memory,
                     hid_t space, const void* data) {
    const std::string where = object.describe() + "/@" + name;
    if (H5Aexists(object.id(), name.c_str()) > 0)
        checked(H5Adelete(object.id(), name.c_str()), where, "replacing the attribute");
    const Handle attribute =
        own(H5Acreate2(object.id(), name.c_str(), stored, space, H5P_DEFAULT, H5P_DEFAULT), where,
            "creating the attribute");
    checked(H5Awrite(attribute.get(), memory, data), where, "writing the attribute");
}

void write_text_attribute(const Object& object, const std::string& name,
                          std::span<const std::string> texts, bool scalar, bool shared) {
    const std::string where = object.describe() + "/@" + name;
    const Handle space = simple_space(scalar ? Shape{} : Shape{texts.size()}, where);
    if (shared) {
        // Texts of variable length live in a heap that HDF5 does not promise to keep right in
        // parallel.
        const auto [type, bytes] = fixed_texts(texts, where);
        write_attribute(object, name, type.get(), type.get(), space.get(), bytes.data());
        return;
    }
    const Handle type = own(H5Tcopy(H5T_C_S1), where, "making a string type");
    H5Tset_size(type.get(), H5T_VARIABLE);
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
    std::vector<const char*> pointers;
    for (const std::string& text : texts)
        pointers.push_back(text.c_str());
    pointers.push_back("");
    write_attribute(object, name, type.get(), type.get(), space.get(), pointers.data());
}

} // namespace

void Object::set_attribute(const std::string& name, const std::string& value) {
    write_text_attribute(*this, name, {&value, 1}, true, file_->shared());
}

void Object::set_attribute(const std::string& name, const char* value) {
    set_attribute(name, std::string(value));
}

void Object::set_attribute(const std::string& name, const std::vector<std::string>& values) {
    write_text_attribute(*this, name, values, false, file_->shared());
}

void Object::set_attribute(const std::string& name, double value) {
    const Handle space = simple_space({}, describe());
    write_attribute(*this, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, space.get(), &value);
}

void Object::set_attribute(const std::string& name, std::int64_t value) {
    const Handle space = simple_space({}, describe());
    write_attribute(*this, name, H5T_STD_I64LE, H5T_NATIVE_INT64, space.get(), &value);
}

void Object::set_attribute(const std::string& name, int value) {
    set_attribute(name, static_cast<std::int64_t>(value));
}

void Object::set_attribute(const std::string& name, std::span<const double> values) {
    const Handle space = simple_space({values.size()}, describe());
    write_attribute(*this, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, space.get(), values.data());
}

void Object::set_attribute(const std::string& name, std::span<const std::int64_t> values) {
    const Handle space = simple_space({values.size()}, describe());
    write_attribute(*this, name, H5T_STD_I64LE, H5T_NATIVE_INT64, space.get(), values.data());
}

std::optional<std::vector<std::string>> Object::strings_attribute(const std::string& name) const {
    if (!has_attribute(name))
        return std::nullopt;
    const std::string where = describe() + "/@" + name;
    const Handle attribute =
        own(H5Aopen(id(), name.c_str(), H5P_DEFAULT), where, "opening the attribute");
    const Handle type = own(H5Aget_type(attribute.get()), where, "reading the attribute's type");
    if (H5Tget_class(type.get()) != H5T_STRING)
        throw Error(where + ": expected text");
    const Handle space = own(H5Aget_space(attribute.get()), where, "reading the attribute's shape");
    const auto n =
        static_cast<std::size_t>(std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space.get())));
    return read_texts(type.get(), space.get(), n, where, [&](hid_t memory, void* buffer) {
        return H5Aread(attribute.get(), memory, buffer);
    });
}

std::optional<std::string> Object::string_attribute(const std::string& name) const {
    const auto texts = strings_attribute(name);
    if (!texts)
        return std::nullopt;
    if (texts->size() > 1)
        throw Error(describe() + "/@" + name + ": expected one text, found " +
                    std::to_string(texts->size()));
    return texts->empty() ? std::string() : texts->front();
}

std::optional<std::vector<double>> Object::numbers_attribute(const std::string& name) const {
    if (!has_attribute(name))
        return std::nullopt;
    const std::string where = describe() + "/@" + name;
    const Handle attribute =
        own(H5Aopen(id(), name.c_str(), H5P_DEFAULT), where, "opening the attribute");
    const Handle type = own(H5Aget_type(attribute.get()), where, "reading the attribute's type");
    if (!is_number(type.get()))
        throw Error(where + ": expected a number");
    const Handle space = own(H5Aget_space(attribute.get()), where, "reading the attribute's shape");
    const auto n =
        static_cast<std::size_t>(std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space.get())));
    std::vector<double> values(n);
    if (n > 0)
        checked(H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, values.data()), where,
                "reading the attribute");
    return values;
}

std::optional<double> Object::number_attribute(const std::string& name) const {
    const auto values = numbers_attribute(name);
    if (!values)
        return std::nullopt;
    if (values->size() != 1)
        throw Error(describe() + "/@" + name + ": expected one number, found " +
                    std::to_string(values->size()));
    return values->front();
}

} // namespace xrdct::hdf5
