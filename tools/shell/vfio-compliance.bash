# SPDX-License-Identifier: GPL-2.0-only AND MPL-2.0
# Made by `python tools/shell`; the frame is that of shtab (MPL-2.0). The self-tests compare.

_shtab_vfio_compliance_subparsers=(run report list explain check judge proxy vm)

_shtab_vfio_compliance_run_option_strings=(-h --help --out --only --skip --plan --defect --stress --seed --shuffle --keep-data)
_shtab_vfio_compliance_report_option_strings=(-h --help)
_shtab_vfio_compliance_list_option_strings=(-h --help --defects)
_shtab_vfio_compliance_explain_option_strings=(-h --help)
_shtab_vfio_compliance_check_option_strings=(-h --help)
_shtab_vfio_compliance_judge_option_strings=(-h --help --source --region)
_shtab_vfio_compliance_proxy_option_strings=(-h --help --listen --connect --trace --once)
_shtab_vfio_compliance_vm_option_strings=(-h --help --kernels --kernel --headers --out --cache --deadline --accel --memory --cpus --ignore-log --no-module)
_shtab_vfio_compliance_option_strings=(-h --help --version)

_shtab_vfio_compliance_run_pos_0_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_run___out_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_run___plan_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_report_pos_0_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_check_pos_0_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_judge_pos_0_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_judge___source_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_proxy___listen_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_proxy___connect_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_proxy___trace_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_vm___kernel_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_vm___headers_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_vm___out_COMPGEN=_shtab_compgen_files
_shtab_vfio_compliance_vm___cache_COMPGEN=_shtab_compgen_files

_shtab_vfio_compliance_vm___accel_choices=(auto kvm tcg)
_shtab_vfio_compliance_pos_0_choices=(run report list explain check judge proxy vm)

_shtab_vfio_compliance_run__h_nargs=0
_shtab_vfio_compliance_run___help_nargs=0
_shtab_vfio_compliance_run___shuffle_nargs=0
_shtab_vfio_compliance_run___keep_data_nargs=0
_shtab_vfio_compliance_report__h_nargs=0
_shtab_vfio_compliance_report___help_nargs=0
_shtab_vfio_compliance_list__h_nargs=0
_shtab_vfio_compliance_list___help_nargs=0
_shtab_vfio_compliance_list___defects_nargs=0
_shtab_vfio_compliance_explain__h_nargs=0
_shtab_vfio_compliance_explain___help_nargs=0
_shtab_vfio_compliance_check_pos_0_nargs=+
_shtab_vfio_compliance_check__h_nargs=0
_shtab_vfio_compliance_check___help_nargs=0
_shtab_vfio_compliance_judge__h_nargs=0
_shtab_vfio_compliance_judge___help_nargs=0
_shtab_vfio_compliance_proxy__h_nargs=0
_shtab_vfio_compliance_proxy___help_nargs=0
_shtab_vfio_compliance_proxy___once_nargs=0
_shtab_vfio_compliance_vm__h_nargs=0
_shtab_vfio_compliance_vm___help_nargs=0
_shtab_vfio_compliance_vm___ignore_log_nargs=0
_shtab_vfio_compliance_vm___no_module_nargs=0
_shtab_vfio_compliance_pos_0_nargs=A...
_shtab_vfio_compliance__h_nargs=0
_shtab_vfio_compliance___help_nargs=0
_shtab_vfio_compliance___version_nargs=0


# $1=COMP_WORDS[1]
_shtab_compgen_files() {
  compgen -f -- $1  # files
}

# $1=COMP_WORDS[1]
_shtab_compgen_dirs() {
  compgen -d -- $1  # recurse into subdirs
}

# $1=COMP_WORDS[1]
_shtab_replace_nonword() {
  echo "${1//[^[:word:]]/_}"
}

# set default values (called for the initial parser & any subparsers)
_set_parser_defaults() {
  local subparsers_var="${prefix}_subparsers[@]"
  sub_parsers=${!subparsers_var-}

  local current_option_strings_var="${prefix}_option_strings[@]"
  current_option_strings=${!current_option_strings_var}

  completed_positional_actions=0

  _set_new_action "pos_$completed_positional_actions" true
}

# $1=action identifier
# $2=positional action (bool)
# set all identifiers for an action's parameters
_set_new_action() {
  current_action="${prefix}_$(_shtab_replace_nonword $1)"

  local current_action_compgen_var=${current_action}_COMPGEN
  current_action_compgen="${!current_action_compgen_var-}"

  local current_action_choices_var="${current_action}_choices[@]"
  current_action_choices="${!current_action_choices_var-}"

  local current_action_nargs_var="${current_action}_nargs"
  if [ -n "${!current_action_nargs_var-}" ]; then
    current_action_nargs="${!current_action_nargs_var}"
  else
    current_action_nargs=1
  fi

  current_action_args_start_index=$(( $word_index + 1 - $pos_only ))

  current_action_is_positional=$2
}

# Notes:
# `COMPREPLY`: what will be rendered after completion is triggered
# `completing_word`: currently typed word to generate completions for
# `${!var}`: evaluates the content of `var` and expand its content as a variable
#     hello="world"
#     x="hello"
#     ${!x} -> ${hello} -> "world"
_shtab_vfio_compliance() {
  local completing_word="${COMP_WORDS[COMP_CWORD]}"
  local previous_word="${COMP_WORDS[COMP_CWORD-1]}"
  local completed_positional_actions
  local current_action
  local current_action_args_start_index
  local current_action_choices
  local current_action_compgen
  local current_action_is_positional
  local current_action_nargs
  local current_option_strings
  local sub_parsers
  COMPREPLY=()

  local prefix=_shtab_vfio_compliance
  local word_index=0
  local pos_only=0 # "--" delimiter not encountered yet
  _set_parser_defaults
  word_index=1

  # determine what arguments are appropriate for the current state
  # of the arg parser
  while [ $word_index -ne $COMP_CWORD ]; do
    local this_word="${COMP_WORDS[$word_index]}"

    if [[ $pos_only = 1 || " $this_word " != " -- " ]]; then
      if [[ -n $sub_parsers && " ${sub_parsers[@]} " == *" $this_word "* ]]; then
        # valid subcommand: add it to the prefix & reset the current action
        prefix="${prefix}_$(_shtab_replace_nonword $this_word)"
        _set_parser_defaults
      fi

      if [[ " ${current_option_strings[@]} " == *" $this_word "* ]]; then
        # a new action should be acquired (due to recognised option string or
        # no more input expected from current action);
        # the next positional action can fill in here
        _set_new_action $this_word false
      fi

      if [[ "$current_action_nargs" != "*" ]] && \
         [[ "$current_action_nargs" != "+" ]] && \
         [[ "$current_action_nargs" != "?" ]] && \
         [[ "$current_action_nargs" != *"..." ]] && \
         (( $word_index + 1 - $current_action_args_start_index - $pos_only >= \
            $current_action_nargs )); then
        $current_action_is_positional && let "completed_positional_actions += 1"
        _set_new_action "pos_$completed_positional_actions" true
      fi
    else
      pos_only=1 # "--" delimiter encountered
    fi

    let "word_index+=1"
  done

  # Generate the completions

  COMPREPLY=()
  if [[ $pos_only = 0 && "$completing_word" == -* &&
        ( -z "$current_action_compgen" || "$current_action_is_positional" = true ) ]]; then
    # optional argument started: use option strings
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
      compgen -W "${current_option_strings[*]}" -- "$completing_word")
  elif [[ "$previous_word" =~ ^[0-9\&]*[\<\>]\>?$ ]]; then
    # handle redirection operators
    compopt -o filenames 2>/dev/null || : # bash>=4
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$completing_word")
  else
    # use choices & compgen
    local action_compgen_word="$completing_word"
    # handle tab-completing in the middle of a line (#248 <- #116)
    [[ -n "$current_action_compgen" && "$completing_word" == -* ]] && action_compgen_word=""
    [ -n "$current_action_compgen" ] && {
      [[ "$current_action_compgen" =~ _(file|dir|glob|FILE|DIR|GLOB)|File|Dir|Glob ]] &&
        compopt -o filenames 2>/dev/null || : # bash>=4
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
        "$current_action_compgen" "$action_compgen_word")
    }
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
      compgen -W "${current_action_choices[*]}" -- "$completing_word")
  fi

  if [[ ${#COMPREPLY[@]} = 0 ]]; then
    # native fallback matches are not necessarily filenames (e.g. variables)
    compopt +o filenames 2>/dev/null || : # bash>=4
  fi

  return 0
}

complete -o bashdefault -F _shtab_vfio_compliance vfio-compliance
