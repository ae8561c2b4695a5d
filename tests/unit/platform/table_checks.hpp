#pragma once
#include <numeric>
#include <span>
#include <string>

#include "base/bytes.hpp"
#include "platform/acpi.hpp"
#include "platform/guest_blob.hpp"

namespace bhyve::platform {

/// The sum of bytes modulo 256, which checksums make zero.
inline u8 byte_sum(std::span<const u8> bytes) {
  return static_cast<u8>(std::accumulate(bytes.begin(), bytes.end(), 0u));
}

inline std::string text_at(std::span<const u8> bytes, usize offset, usize size) {
  const auto part = bytes.subspan(offset, size);
  return {part.begin(), part.end()};
}

/// A machine with everything in it.
inline AcpiConfig full_config(unsigned cpus = 4) {
  AcpiConfig config;
  for (unsigned i = 0; i < cpus; ++i) config.cpus.push_back({i, true});
  config.lowmem = 3 * GiB;
  config.highmem = 5 * GiB;
  config.uarts = {true, true, true, true};
  return config;
}

/// The table with this signature, or an empty span.
inline std::span<const u8> find_table(const AcpiTables& tables, const std::string& signature) {
  for (const GuestBlob& blob : tables.blobs) {
    if (text_at(blob.bytes, 0, 4) == signature) return blob.bytes;
  }
  return {};
}

inline const GuestBlob* blob_at(const AcpiTables& tables, u64 address) {
  for (const GuestBlob& blob : tables.blobs) {
    if (blob.address == Gpa(address)) return &blob;
  }
  return nullptr;
}

}  // namespace bhyve::platform
