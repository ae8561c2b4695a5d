#include "bus/pci_function.hpp"

#include "bus/pci_function_msix.hpp"

namespace bhyve::bus {

using namespace pci;

namespace {

unsigned bar_register(unsigned bar) {
  return bar == PciFunction::rom_bar ? unsigned{reg_rom} : reg_bar0 + 4 * bar;
}

}  // namespace

PciFunction::PciFunction(PciWiring wiring, const PciIdentity& id, unsigned config_size)
    : wiring_(std::move(wiring)), config_(config_size) {
  config_.set16(reg_vendor, id.vendor);
  config_.set16(reg_device, id.device);
  config_.set32(reg_revision, id.class_code << 8 | id.revision);
  config_.set16(reg_subvendor, id.subvendor);
  config_.set16(reg_subdevice, id.subdevice);
  config_.allow(reg_command, 2, command_writable);
  config_.allow(reg_cache_line, 1, 0xff);
  config_.allow(reg_interrupt_line, 1, 0xff);
}

PciFunction::~PciFunction() { detach(); }

void PciFunction::detach() {
  if (wiring_.decoder == nullptr) return;
  const std::lock_guard update(update_mutex_);
  detached_ = true;
  for (PciBar& bar : bars_)
    if (bar.kind != PciBar::Kind::none) wiring_.decoder->place(bar, std::nullopt);
}

u32 PciFunction::config_read(unsigned offset, unsigned size) {
  const std::lock_guard lock(config_mutex_);
  return config_.read(offset, size);
}

void PciFunction::config_write(unsigned offset, unsigned size, u32 value) {
  const std::lock_guard update(update_mutex_);
  {
    const std::lock_guard lock(config_mutex_);
    config_.write(offset, size, value);
  }
  apply();
  on_config_written(offset, size);
}

/// Brings windows, pending messages and the INTx level in line with the registers.
void PciFunction::apply() {
  MsiMessages messages;
  std::array<std::optional<u64>, bars + 1> place;
  {
    const std::lock_guard lock(config_mutex_);
    if (msi_) msi_->update(config_, master_locked(), messages);
    if (msix_) msix_->update(config_, master_locked(), messages);
    for (unsigned i = 0; i <= bars; ++i) place[i] = decoded(i);
  }
  send(messages);
  if (wiring_.decoder != nullptr && !detached_) {
    for (unsigned i = 0; i <= bars; ++i)
      if (bars_[i].kind != PciBar::Kind::none) wiring_.decoder->place(bars_[i], place[i]);
  }
  update_line();
}

Result<void> PciFunction::set_bar_address(unsigned bar, u64 address) {
  if (bar > rom_bar || bars_[bar].kind == PciBar::Kind::none)
    return fail(EINVAL, "{}: there is no BAR {}", wiring_.name, bar);
  if ((address & (bars_[bar].size - 1)) != 0)
    return fail(EINVAL, "{}: address {:#x} of BAR {} is not aligned to its size {:#x}",
                wiring_.name, address, bar, bars_[bar].size);
  const std::lock_guard update(update_mutex_);
  {
    const std::lock_guard lock(config_mutex_);
    const unsigned at = bar_register(bar);
    const u32 flags = config_.get32(at) & (bars_[bar].kind == PciBar::Kind::io ? 0x3 : 0xf);
    config_.set32(at, static_cast<u32>(address) | flags);
    if (bars_[bar].kind == PciBar::Kind::mem64)
      config_.set32(at + 4, static_cast<u32>(address >> 32));
  }
  apply();
  return {};
}

void PciFunction::set_command(u16 bits) {
  const std::lock_guard update(update_mutex_);
  {
    const std::lock_guard lock(config_mutex_);
    config_.set16(reg_command, bits & command_writable);
  }
  apply();
}

void PciFunction::set_interrupt_pin(u8 pin, u8 line) {
  const std::lock_guard lock(config_mutex_);
  config_.set8(reg_interrupt_pin, pin);
  config_.set8(reg_interrupt_line, line);
}

u64 PciFunction::bar_address(unsigned bar) const {
  const std::lock_guard lock(config_mutex_);
  return programmed(bar);
}

u64 PciFunction::programmed(unsigned bar) const {
  const u32 low = config_.get32(bar_register(bar));
  switch (bars_[bar].kind) {
    case PciBar::Kind::io: return low & ~u32{3};
    case PciBar::Kind::mem32: return low & ~u32{0xf};
    case PciBar::Kind::mem64: 
      return (low & ~u32{0xf}) | u64{config_.get32(bar_register(bar) + 4)} << 32;
    case PciBar::Kind::rom: return low & ~u32{0x7ff};
    case PciBar::Kind::none: break;
  }
  return 0;
}

/// Where a window answers now. Address 0 counts as "not assigned yet".
std::optional<u64> PciFunction::decoded(unsigned bar) const {
  const PciBar& b = bars_[bar];
  if (b.kind == PciBar::Kind::none) return {};
  const u64 address = programmed(bar);
  if (address == 0 || address + (b.size - 1) < address) return {};
  const u16 command = config_.get16(reg_command);
  if (b.kind == PciBar::Kind::io) {
    const bool fits = address + b.size <= 0x1'0000;
    return (command & command_io) != 0 && fits ? std::optional(address) : std::nullopt;
  }
  if ((command & command_memory) == 0) return {};
  if (b.kind == PciBar::Kind::rom && (config_.get8(reg_rom) & 1) == 0) return {};
  return address;
}

bool PciFunction::notify(unsigned vector) {
  MsiMessages messages;
  {
    const std::lock_guard lock(config_mutex_);
    if (msix_ && msix_->enabled(config_))
      msix_->raise(config_, vector, master_locked(), messages);
    else if (msi_ && msi_->enabled(config_))
      msi_->raise(config_, vector, master_locked(), messages);
    else
      return false;
  }
  send(messages);
  return true;
}

void PciFunction::send(const MsiMessages& messages) {
  if (!wiring_.msi) return;
  for (const MsiMessage& m : messages) wiring_.msi(m.address, m.data);
}

void PciFunction::set_intx(bool asserted) {
  {
    const std::lock_guard lock(config_mutex_);
    intx_asserted_ = asserted;
    const u16 status = config_.get16(reg_status);
    config_.set16(reg_status, static_cast<u16>(asserted ? status | status_interrupt
                                                        : status & ~status_interrupt));
  }
  update_line();
}

void PciFunction::update_line() {
  const std::lock_guard line(line_mutex_);
  bool level = false;
  {
    const std::lock_guard lock(config_mutex_);
    const bool messages =
        (msix_ && msix_->enabled(config_)) || (msi_ && msi_->enabled(config_));
    level = intx_asserted_ && !messages &&
            (config_.get16(reg_command) & command_intx_disable) == 0;
  }
  if (level == line_level_) return;
  line_level_ = level;
  if (wiring_.intx) wiring_.intx(level);
}

bool PciFunction::master_locked() const {
  return (config_.get16(reg_command) & command_master) != 0;
}

bool PciFunction::bus_master() const {
  const std::lock_guard lock(config_mutex_);
  return master_locked();
}

void PciFunction::set_register8(unsigned offset, u8 value) {
  const std::lock_guard lock(config_mutex_);
  config_.set8(offset, value);
}

u8 PciFunction::register8(unsigned offset) const {
  const std::lock_guard lock(config_mutex_);
  return config_.get8(offset);
}

void PciFunction::on_config_written(unsigned, unsigned) {}

void PciFunction::on_bar(unsigned, bool, u64) {}

void PciFunction::reset() {
  const std::lock_guard update(update_mutex_);
  {
    const std::lock_guard lock(config_mutex_);
    config_.reset();
    if (msi_) msi_->reset(config_);
    if (msix_) msix_->reset();
  }
  set_intx(false);
  apply();
}

void PciFunction::save(StateWriter& out) const {
  const std::lock_guard lock(config_mutex_);
  out.section(wiring_.name, 1, [this](StateWriter& w) {
    config_.save(w);
    w.put_bool(intx_asserted_);
    if (msi_) msi_->save(w);
    if (msix_) msix_->save(w);
  });
}

Result<void> PciFunction::load(const StateReader& in) {
  bool asserted = false;
  Result<void> loaded;
  {
    const std::lock_guard lock(config_mutex_);
    loaded = in.section(wiring_.name, 1, [&](StateSection& s) {
      config_.load(s);
      asserted = s.get_bool();
      if (msi_) msi_->load(s, config_);
      if (msix_) msix_->load(s);
    });
  }
  if (!loaded) {
    reset();
    return loaded;
  }
  const std::lock_guard update(update_mutex_);
  set_intx(asserted);
  apply();
  return {};
}

}  // namespace bhyve::bus
