#include "engine/soft/replay/host_form.hpp"

#include "engine/soft/interp/tables.hpp"

namespace bhyve::soft {

namespace {

struct HostDecoder final {
  ZydisDecoder decoder;
  HostDecoder() {
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }
};

bool same_operand(const ZydisDecodedOperand& guest, const ZydisDecodedOperand& host) {
  if (guest.type != host.type || guest.size != host.size) return false;
  if (is_mem(guest))
    return host.mem.base == ZYDIS_REGISTER_RSI && host.mem.index == ZYDIS_REGISTER_NONE &&
           host.mem.disp.value == 0;
  if (guest.type != ZYDIS_OPERAND_TYPE_REGISTER) return true;
  // General registers were substituted; all others stand for themselves.
  return is_gpr(guest) ? is_gpr(host) : guest.reg.value == host.reg.value;
}

}  // namespace

bool same_on_host(const Decoded& d, std::span<const u8> code) {
  static const HostDecoder host;
  ZydisDecodedInstruction info;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&host.decoder, code.data(), code.size(), &info, operands)) ||
      info.length != code.size() || info.mnemonic != d.info.mnemonic ||
      info.operand_count_visible != d.info.operand_count_visible)
    return false;
  for (unsigned n = 0; n < info.operand_count_visible; ++n)
    if (!same_operand(d.operands[n], operands[n])) return false;
  return true;
}

}  // namespace bhyve::soft
