#include "dev/testdev/pci_testdev.hpp"

#include <numeric>

#include "base/bytes.hpp"
#include "bus/access.hpp"

namespace bhyve::dev {
namespace {

constexpr u32 class_other = 0xff'00'00;
constexpr u8 express_endpoint = 9;  // integrated into the root complex

bus::PciIdentity identity() {
  bus::PciIdentity id;
  id.vendor = PciTestDev::vendor;
  id.device = PciTestDev::device;
  id.class_code = class_other;
  id.revision = 1;
  id.subvendor = PciTestDev::vendor;
  id.subdevice = 1;
  return id;
}

u64 gather(std::span<const u8> bytes, u64 offset, unsigned size) {
  u64 value = 0;
  for (unsigned i = 0; i < size; ++i)
    value |= u64{bytes[(offset + i) % bytes.size()]} << (8 * i);
  return value;
}

}  // namespace

PciTestDev::PciTestDev(bus::PciWiring wiring, const Options& options, Worker worker)
    : PciFunction(std::move(wiring), identity(), bus::PciConfig::extended),
      section_(section_name() + ".registers"),
      worker_(std::move(worker)) {
  add_io_bar(bar_ports, registers_end, ports_);
  add_memory_bar(bar_registers, bus::PciBar::Kind::mem32, page_size, &registers_);
  add_memory_bar(bar_memory, bus::PciBar::Kind::mem64, options.window, &window_, true);
  if (options.rom) add_rom(rom_size, rom_);
  constexpr std::array<u8, 6> vendor_body{8};  // its length, then 5 bytes that the guest may write
  const unsigned own = add_capability(bus::pci::cap_vendor, vendor_body);
  allow(own + 4, 4, ~u32{0});
  if (options.msi != 0) add_msi(options.msi);
  if (options.msix != 0) add_msix(options.msix, bar_msix);
  add_express(express_endpoint);
  add_extended_capability();
}

PciTestDev::~PciTestDev() {
  detach();
  worker_.drain();
}

/// A vendor-specific extended capability (PCI Express Base 7.19) with a word that the guest may write:
/// what only the enhanced configuration mechanism reaches.
void PciTestDev::add_extended_capability() {
  constexpr unsigned at = bus::PciConfig::conventional;
  constexpr u8 bytes[8] = {0x0b, 0x00, 0x01, 0x00,   // id 000Bh, version 1, none behind it
                           0x43, 0x54, 0xc0, 0x00};  // its own id, revision 0, 12 bytes
  for (unsigned i = 0; i < sizeof bytes; ++i) set_register8(at + i, bytes[i]);
  allow(at + sizeof bytes, 4, ~u32{0});
}

u32 PciTestDev::read_register(u64 offset, unsigned size) const {
  if (size != 4 || offset % 4 != 0) return static_cast<u32>(bus::all_ones(size));
  const std::lock_guard lock(mutex_);
  switch (offset) {
    case reg_identity: return identity_value;
    case reg_scratch: return scratch_;
    case reg_line: return line_;
    case reg_notify: return sent_;
    case reg_count: return count_;
    default: return 0;
  }
}

void PciTestDev::write_register(u64 offset, unsigned size, u32 value) {
  if (size != 4 || offset % 4 != 0) return;
  const std::lock_guard lock(mutex_);
  switch (offset) {
    case reg_scratch: scratch_ = value; break;
    case reg_line:
      line_ = (value & 1) != 0;
      set_intx(line_);
      break;
    case reg_notify: raise_locked(value); break;
    case reg_later:
      worker_.post([this, value] {
        const std::lock_guard later(mutex_);
        raise_locked(value);
      });
      break;
    default: break;
  }
}

/// As devices do it: a message where the guest takes messages, else the line until the guest clears it.
void PciTestDev::raise_locked(unsigned vector) {
  ++count_;
  if (notify(vector)) {
    sent_ = sent_message;
    return;
  }
  sent_ = sent_line;
  line_ = true;
  set_intx(true);
}

u64 PciTestDev::Registers::mmio_read(u64 offset, unsigned size, VcpuId) {
  return size == 8 ? ~u64{0} : dev_.read_register(offset, size);
}

void PciTestDev::Registers::mmio_write(u64 offset, unsigned size, u64 value, VcpuId) {
  dev_.write_register(offset, size, static_cast<u32>(value));
}

u64 PciTestDev::Memory::mmio_read(u64 offset, unsigned size, VcpuId) {
  const std::lock_guard lock(dev_.mutex_);
  return gather(dev_.memory_, offset, size);
}

void PciTestDev::Memory::mmio_write(u64 offset, unsigned size, u64 value, VcpuId) {
  const std::lock_guard lock(dev_.mutex_);
  for (unsigned i = 0; i < size; ++i)
    dev_.memory_[(offset + i) % memory_size] = static_cast<u8>(value >> (8 * i));
}

/// An option ROM image that does nothing: header and data structure (PCI Firmware 3.0, 5.1.1 and 5.1.2),
/// bytes that add up to 0, an entry point that returns.
PciTestDev::Rom::Rom() {
  constexpr u16 data_at = 0x1c, data_length = 0x18, blocks = rom_size / 512;
  constexpr u8 far_return = 0xcb, last_image = 0x80;
  bytes_[0] = 0x55;
  bytes_[1] = 0xaa;
  bytes_[2] = blocks;
  bytes_[3] = far_return;
  store_le<u16>(bytes_, 0x18, data_at);
  const std::span<u8> data = std::span(bytes_).subspan(data_at, data_length);
  constexpr std::array<u8, 4> signature{'P', 'C', 'I', 'R'};
  std::copy(signature.begin(), signature.end(), data.begin());
  store_le<u16>(data, 0x04, vendor);
  store_le<u16>(data, 0x06, device);
  store_le<u16>(data, 0x0a, data_length);
  store_le<u32>(data, 0x0c, class_other << 8);  // revision 0 in the lowest byte
  store_le<u16>(data, 0x10, blocks);
  data[0x15] = last_image;
  bytes_.back() = static_cast<u8>(-std::accumulate(bytes_.begin(), bytes_.end(), 0));
}

u64 PciTestDev::Rom::mmio_read(u64 offset, unsigned size, VcpuId) {
  return gather(bytes_, offset, size);
}

void PciTestDev::clear_locked() {
  scratch_ = count_ = 0;
  line_ = false;
  sent_ = sent_nothing;
  memory_.fill(0);
}

void PciTestDev::reset() {
  {
    const std::lock_guard lock(mutex_);
    clear_locked();
  }
  PciFunction::reset();
}

void PciTestDev::save(StateWriter& out) const {
  PciFunction::save(out);
  const std::lock_guard lock(mutex_);
  out.section(section_, 1, [this](StateWriter& w) {
    w.put_u32(scratch_);
    w.put_u32(count_);
    w.put_bool(line_);
    w.put_u8(sent_);
    w.put_bytes(memory_);
  });
}

Result<void> PciTestDev::load(const StateReader& in) {
  if (auto ok = PciFunction::load(in); !ok) {
    reset();
    return ok;
  }
  std::unique_lock lock(mutex_);
  auto loaded = in.section(section_, 1, [this](StateSection& s) {
    scratch_ = s.get_u32();
    count_ = s.get_u32();
    line_ = s.get_bool();
    sent_ = s.get_u8();
    s.get_bytes(memory_);
  });
  lock.unlock();
  if (!loaded) reset();
  return loaded;
}

}  // namespace bhyve::dev
