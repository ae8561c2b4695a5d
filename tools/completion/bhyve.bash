# bash completion of bhyve, bhyveload and bhyvectl. What can be completed is asked of the tools themselves.

_bhyve_vms() {
  bhyvectl --list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_bhyve_words() {
  local IFS=$'\n'
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_bhyve() {
  local tool=${1##*/} word=$2 before=$3
  COMPREPLY=()
  case $tool:$before in
    bhyve:-l | bhyve:-s)
      local prefix=
      # -s SLOT,DEVICE: the device is completed behind the comma.
      if [ "$before" = -s ]; then
        case $word in *,*) prefix=${word%%,*}, ;; *) return ;; esac
      fi
      _bhyve_words "$(bhyve "$before" help | awk -v p="$prefix" '{ print p $1 }')" "$word"
      return ;;
    bhyve:-k | bhyve:--kernel | bhyve:--initrd | bhyveload:--kernel | bhyveload:--initrd)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return ;;
    bhyveload:-h)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return ;;
  esac
  case $word in
    --vm=*) _bhyve_words "$(_bhyve_vms)" "${word#--vm=}" ;;
    -*) _bhyve_words "$("$tool" --help | grep -oE -- '(^|[ ,])--?[a-zA-Z][a-z0-9-]*=?' |
          tr -d ' ,' | sort -u)" "$word" ;;
    *) [ "$tool" = bhyvectl ] || _bhyve_words "$(_bhyve_vms)" "$word" ;;
  esac
}

complete -F _bhyve bhyve bhyveload bhyvectl
