#include "diff_forms.hpp"

#include <cpuid.h>

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

namespace bhyve::test::diff {
namespace {

struct Decoders final {
  ZydisDecoder long64, compat32, compat16;
  Decoders() {
    ZydisDecoderInit(&long64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderInit(&compat32, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&compat16, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
  }
};

const ZydisDecoder& decoder(Mode mode) {
  static const Decoders d;
  if (mode == Mode::user16) return d.compat16;
  return mode == Mode::user32 ? d.compat32 : d.long64;
}

const char* operand_kind(const ZydisDecodedOperand& o) {
  switch (o.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER: return ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_MASK ? "k" : "r";
    case ZYDIS_OPERAND_TYPE_MEMORY: return o.mem.type == ZYDIS_MEMOP_TYPE_VSIB ? "vm" : "m";
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: return "i";
    default: return "p";
  }
}

bool excluded_category(ZydisInstructionCategory c) {
  switch (c) {
    case ZYDIS_CATEGORY_CALL: case ZYDIS_CATEGORY_COND_BR: case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_RET: case ZYDIS_CATEGORY_INTERRUPT: case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET: case ZYDIS_CATEGORY_SEGOP: case ZYDIS_CATEGORY_RDWRFSGS:
    case ZYDIS_CATEGORY_RDRAND: case ZYDIS_CATEGORY_RDSEED: case ZYDIS_CATEGORY_RDPID:
    case ZYDIS_CATEGORY_RDPRU: case ZYDIS_CATEGORY_XSAVE: case ZYDIS_CATEGORY_XSAVEOPT:
    case ZYDIS_CATEGORY_VTX: case ZYDIS_CATEGORY_SGX: case ZYDIS_CATEGORY_CET:
    case ZYDIS_CATEGORY_PKU: case ZYDIS_CATEGORY_WAITPKG: case ZYDIS_CATEGORY_UINTR:
    case ZYDIS_CATEGORY_ENQCMD: case ZYDIS_CATEGORY_PT: case ZYDIS_CATEGORY_CLZERO:
      return true;
    default:
      return false;
  }
}

bool excluded_mnemonic(ZydisMnemonic m) {
  switch (m) {
    case ZYDIS_MNEMONIC_CPUID: case ZYDIS_MNEMONIC_RDTSC: case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC: case ZYDIS_MNEMONIC_POPF: case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ: case ZYDIS_MNEMONIC_SGDT: case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT: case ZYDIS_MNEMONIC_STR: case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LAR: case ZYDIS_MNEMONIC_LSL: case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW: case ZYDIS_MNEMONIC_XGETBV: case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64: case ZYDIS_MNEMONIC_HLT:
      return true;
    default:
      return false;
  }
}

bool excluded_extension(ZydisISAExt e) {
  switch (e) {
    case ZYDIS_ISA_EXT_SVM: case ZYDIS_ISA_EXT_RTM: case ZYDIS_ISA_EXT_MONITOR:
    case ZYDIS_ISA_EXT_MONITORX: case ZYDIS_ISA_EXT_MCOMMIT: case ZYDIS_ISA_EXT_AMD_INVLPGB:
    case ZYDIS_ISA_EXT_SNP: case ZYDIS_ISA_EXT_PADLOCK: case ZYDIS_ISA_EXT_TDX:
    case ZYDIS_ISA_EXT_HRESET: case ZYDIS_ISA_EXT_AMX_TILE:
      return true;
    default:
      return false;
  }
}

/// Extensions whose instructions execute on any processor that has them, though a hypervisor below us
/// may hide them in CPUID; then the guest has them not.
struct Extension {
  std::string_view isa_set;  ///< what Zydis' name begins with
  u32 leaf, subleaf;
  unsigned reg, bit;  ///< EAX..EDX
};
constexpr Extension hideable[] = {
    {"AVX512_FP16", 7, 0, 3, 23}, {"AVX512_BF16", 7, 1, 0, 5},  {"AVX512_VP2INTERSECT", 7, 0, 3, 8},
    {"AVX_VNNI", 7, 1, 0, 4},     {"MOVDIR", 7, 0, 2, 27},      {"TSX_LDTRK", 7, 0, 3, 16},
    {"AMX", 7, 0, 3, 24},         {"KEYLOCKER", 7, 0, 2, 23},   {"GFNI", 7, 0, 2, 8},
    {"AVX512_GFNI", 7, 0, 2, 8},  {"AVX_GFNI", 7, 0, 2, 8},     {"VAES", 7, 0, 2, 9},
    {"AVX512_VAES", 7, 0, 2, 9},  {"VPCLMULQDQ", 7, 0, 2, 10},  {"AVX512_VPCLMULQDQ", 7, 0, 2, 10},
    {"SHA", 7, 0, 1, 29},         {"ADOX_ADCX", 7, 0, 1, 19},   {"AVX512_IFMA", 7, 0, 1, 21},
    {"AVX512_VBMI2", 7, 0, 2, 6}, {"AVX512_VNNI", 7, 0, 2, 11}, {"AVX512_BITALG", 7, 0, 2, 12},
    {"AVX512_VPOPCNTDQ", 7, 0, 2, 14}};

bool hidden(ZydisISASet set) {
  const std::string_view name = ZydisISASetGetString(set);
  return std::any_of(std::begin(hideable), std::end(hideable), [&](const Extension& e) {
    if (!name.starts_with(e.isa_set)) return false;
    u32 r[4] = {};
    return !__get_cpuid_count(e.leaf, e.subleaf, &r[0], &r[1], &r[2], &r[3]) ||
           !(r[e.reg] >> e.bit & 1);
  });
}

bool excluded_operand(const ZydisDecodedOperand& o) {
  if (o.type == ZYDIS_OPERAND_TYPE_POINTER) return true;
  if (o.type == ZYDIS_OPERAND_TYPE_MEMORY)
    return o.mem.segment == ZYDIS_REGISTER_FS || o.mem.segment == ZYDIS_REGISTER_GS ||
           o.mem.type == ZYDIS_MEMOP_TYPE_MIB;
  return o.type == ZYDIS_OPERAND_TYPE_REGISTER && o.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
         ZydisRegisterGetClass(o.reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

/// Bytes of one encoding being put together; the tail (SIB, displacement, immediate) is random.
struct Bytes {
  std::array<u8, 32> b;
  unsigned n = 0;
  explicit Bytes(Random& random) {
    for (u8& x : b) x = static_cast<u8>(random.next());
  }
  void put(u64 v) { b[n++] = static_cast<u8>(v); }
  /// ModRM with a given reg field; mod 3, or a memory form with a random base.
  void put_modrm(Random& random, unsigned reg, bool memory) {
    const u64 mod = memory ? random.below(3) : 3;
    put(mod << 6 | reg << 3 | random.below(8));
  }
  bool finish(Candidate& c) const {
    std::copy_n(b.begin(), c.bytes.size(), c.bytes.begin());
    return c.decode();
  }
};

constexpr unsigned combinations(std::initializer_list<unsigned> sizes) {
  unsigned n = 1;
  for (unsigned s : sizes) n *= s;
  return n;
}
/// Takes the next mixed-radix digit off `index`.
unsigned digit(unsigned& index, unsigned size) {
  const unsigned d = index % size;
  index /= size;
  return d;
}

constexpr unsigned legacy_count = combinations({4, 256, 4, 2, 8, 2});
bool make_legacy(Random& random, unsigned index, Candidate& c) {
  Bytes b(random);
  const unsigned map = digit(index, 4), opcode = digit(index, 256), prefix = digit(index, 4),
                 w = digit(index, 2), reg = digit(index, 8), memory = digit(index, 2);
  constexpr std::array<u8, 4> prefixes{0, 0x66, 0xf3, 0xf2};
  if (random.one_in(24)) b.put(0xf0);
  if (random.one_in(16)) b.put(0x67);
  if (random.one_in(48)) b.put(random.pick<u8>({0x26, 0x2e, 0x36, 0x3e, 0x66}));
  if (prefix) b.put(prefixes[prefix]);
  if (!legacy(c.mode) && (w || random.one_in(2))) b.put(0x40 | w << 3 | random.below(8));
  if (map) b.put(0x0f);
  if (map >= 2) b.put(map == 2 ? 0x38 : 0x3a);
  b.put(opcode);
  b.put_modrm(random, reg, memory == 0);
  return b.finish(c);
}

/// Outside of 64-bit code the inverted high bits of registers are ones: else it is LES, LDS or BOUND.
u64 high_bit(const Candidate& c) { return legacy(c.mode); }

constexpr unsigned vex_count = combinations({3, 256, 4, 2, 2, 8, 2});
bool make_vex(Random& random, unsigned index, Candidate& c) {
  Bytes b(random);
  const unsigned map = digit(index, 3) + 1, opcode = digit(index, 256), pp = digit(index, 4),
                 w = digit(index, 2), l = digit(index, 2), reg = digit(index, 8),
                 memory = digit(index, 2);
  const u64 vvvv = random.one_in(3) ? 15 : high_bit(c) * 8 | random.below(high_bit(c) ? 8 : 16);
  if (map == 1 && w == 0 && random.one_in(4)) {
    b.put(0xc5);
    b.put((high_bit(c) | random.below(2)) << 7 | vvvv << 3 | l << 2 | pp);
  } else {
    b.put(0xc4);
    b.put((high_bit(c) * 6 | random.below(8)) << 5 | map);
    b.put(w << 7 | vvvv << 3 | l << 2 | pp);
  }
  b.put(opcode);
  b.put_modrm(random, reg, memory == 0);
  return b.finish(c);
}

constexpr unsigned evex_count = combinations({5, 256, 4, 2, 3, 2, 2, 2});
bool make_evex(Random& random, unsigned index, Candidate& c) {
  Bytes b(random);
  constexpr std::array<u8, 5> maps{1, 2, 3, 5, 6};
  const unsigned map = maps[digit(index, 5)], opcode = digit(index, 256), pp = digit(index, 4),
                 w = digit(index, 2), l = digit(index, 3), memory = digit(index, 2),
                 bit_b = digit(index, 2), masked = digit(index, 2);
  const u64 vvvv = random.one_in(3) ? 15 : high_bit(c) * 8 | random.below(high_bit(c) ? 8 : 16);
  const u64 aaa = masked ? 1 + random.below(7) : 0;
  const u64 z = masked && memory && random.one_in(2);
  b.put(0x62);
  b.put((high_bit(c) * 12 | random.below(16)) << 4 | map);
  b.put(w << 7 | vvvv << 3 | 4 | pp);
  b.put(z << 7 | l << 5 | bit_b << 4 | (vvvv == 15 ? 1 : random.below(2)) << 3 | aaa);
  b.put(opcode);
  b.put_modrm(random, static_cast<unsigned>(random.below(8)), memory == 0);
  return b.finish(c);
}

}  // namespace

bool Candidate::decode() {
  return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder(mode), bytes.data(), bytes.size(), &insn,
                                             operands.data()));
}

std::string Candidate::describe(u64 rip) const {
  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  std::array<char, 256> line{};
  ZydisFormatterFormatInstruction(&formatter, &insn, operands.data(), insn.operand_count,
                                  line.data(), line.size(), rip, nullptr);
  std::string hex;
  for (u8 b : text()) hex += fmt::format("{:02x}", b);
  return fmt::format("{} [{}]", line.data(), hex);
}

std::string Candidate::form() const {
  constexpr std::array encodings{"", "3dnow ", "xop ", "vex ", "evex ", "mvex "};
  std::string s = encodings[static_cast<usize>(insn.encoding)];
  if (insn.attributes & ZYDIS_ATTRIB_HAS_LOCK) s += "lock ";
  if (insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE)) s += "rep ";
  if (insn.attributes & ZYDIS_ATTRIB_HAS_REPNE) s += "repne ";
  s += ZydisMnemonicGetString(insn.mnemonic);
  for (unsigned i = 0; i < insn.operand_count; ++i) {
    const ZydisDecodedOperand& o = operands[i];
    if (o.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) continue;
    s += fmt::format(" {}{}", operand_kind(o), o.size);
  }
  if (insn.avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID && !insn.avx.broadcast.is_static)
    s += " bcst";
  if (insn.avx.has_sae) s += " sae";
  return s;
}

/// What CPL 0 may do and CPL 3 may not.
bool depends_on_cpl(const Candidate& c) {
  switch (c.insn.mnemonic) {
    case ZYDIS_MNEMONIC_CLI: case ZYDIS_MNEMONIC_STI: case ZYDIS_MNEMONIC_CLAC:
    case ZYDIS_MNEMONIC_STAC: case ZYDIS_MNEMONIC_LGDT: case ZYDIS_MNEMONIC_LIDT:
    case ZYDIS_MNEMONIC_LLDT: case ZYDIS_MNEMONIC_LTR: case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_CLTS: case ZYDIS_MNEMONIC_INVLPG: case ZYDIS_MNEMONIC_SWAPGS:
    case ZYDIS_MNEMONIC_XSETBV: case ZYDIS_MNEMONIC_INVPCID: return true;
    default: break;
  }
  return (c.insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) ||
         c.insn.meta.category == ZYDIS_CATEGORY_IO ||
         c.insn.meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
}

bool may_run(const Candidate& c) {
  if (c.mode == Mode::kernel64 && depends_on_cpl(c)) return false;
  if (excluded_category(c.insn.meta.category) || excluded_mnemonic(c.insn.mnemonic) ||
      excluded_extension(c.insn.meta.isa_ext) || hidden(c.insn.meta.isa_set) || c.insn.meta.branch_type != 0)
    return false;
  return std::none_of(c.operands.begin(), c.operands.begin() + c.insn.operand_count,
                      excluded_operand);
}

void for_each_candidate(Random& random, Mode mode, const std::function<void(Candidate&)>& use) {
  Candidate c;
  c.mode = mode;
  for (unsigned i = 0; i < legacy_count; ++i)
    if (make_legacy(random, i, c)) use(c);
  for (unsigned i = 0; i < vex_count; ++i)
    if (make_vex(random, i, c)) use(c);
  for (unsigned i = 0; i < evex_count; ++i)
    if (make_evex(random, i, c)) use(c);
}

bool random_candidate(Random& random, Candidate& c) {
  // Mostly the general-purpose and SSE instructions, whose results depend on each other most.
  switch (random.below(8)) {
    case 0: return make_vex(random, static_cast<unsigned>(random.below(vex_count)), c);
    case 1: return make_evex(random, static_cast<unsigned>(random.below(evex_count)), c);
    default: return make_legacy(random, static_cast<unsigned>(random.below(legacy_count)), c);
  }
}

}  // namespace bhyve::test::diff
