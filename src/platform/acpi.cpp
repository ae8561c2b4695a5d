#include "platform/acpi.hpp"

#include <utility>

#include "platform/acpi_dsdt.hpp"
#include "platform/acpi_facs.hpp"
#include "platform/acpi_fadt.hpp"
#include "platform/acpi_hpet.hpp"
#include "platform/acpi_madt.hpp"
#include "platform/acpi_mcfg.hpp"
#include "platform/acpi_rsdp.hpp"
#include "platform/acpi_rsdt.hpp"
#include "platform/acpi_spcr.hpp"
#include "platform/acpi_xsdt.hpp"
#include "platform/layout.hpp"

namespace bhyve::platform {
namespace {

constexpr u64 rsdp_size = 36;
constexpr u64 table_alignment = 64;  ///< what the FACS needs

/// Hands out addresses upwards.
class Placer final {
 public:
  Gpa add(std::vector<u8> bytes) {
    const Gpa at = next_;
    next_ = Gpa(align_up((at + bytes.size()).value(), table_alignment));
    blobs_.push_back({at, std::move(bytes)});
    return at;
  }
  [[nodiscard]] Gpa next() const { return next_; }
  [[nodiscard]] std::vector<GuestBlob>& blobs() { return blobs_; }

 private:
  Gpa next_ = Gpa(align_up(layout::acpi.value() + rsdp_size, table_alignment));
  std::vector<GuestBlob> blobs_;
};

}  // namespace

Result<AcpiTables> make_acpi_tables(const AcpiConfig& config) {
  if (config.cpus.empty() || config.cpus.size() > AcpiConfig::max_cpus) {
    return fail(EINVAL, "ACPI tables describe 1 to {} CPUs, not {}", AcpiConfig::max_cpus,
                config.cpus.size());
  }
  Placer placer;
  std::vector<Gpa> listed;
  listed.push_back(placer.add(make_madt(config)));
  if (config.hpet) listed.push_back(placer.add(make_hpet(config)));
  listed.push_back(placer.add(make_mcfg()));
  if (config.uarts[0]) listed.push_back(placer.add(make_spcr()));
  const Gpa facs = placer.add(make_facs());
  const Gpa dsdt = placer.add(make_dsdt(config));
  // The FADT goes first in the lists: ACPI 1.0 systems looked for it there.
  listed.insert(listed.begin(), placer.add(make_fadt(config, facs, dsdt)));
  const Gpa rsdt = placer.add(make_rsdt(listed));
  const Gpa xsdt = placer.add(make_xsdt(listed));
  if (placer.next() > Gpa(MiB)) {
    return fail(E2BIG, "ACPI tables end at {:#x}, above 1 MiB", placer.next().value());
  }
  AcpiTables tables{layout::acpi, {{layout::acpi, make_rsdp(rsdt, xsdt)}}};
  for (GuestBlob& blob : placer.blobs()) tables.blobs.push_back(std::move(blob));
  return tables;
}

}  // namespace bhyve::platform
