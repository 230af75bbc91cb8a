# One function per kind of thing. Unknown arguments are an error.

function(_kvbm_no_more_arguments)
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments: ${ARG_UNPARSED_ARGUMENTS}")
  endif()
endfunction()

# kvbm_add_tests(SOURCES a_test.cpp b_prop.cpp ... [LIBRARIES ...] [SIM])
#
# One GoogleTest program per source, named after its directory and stem. The suffix of the file decides the label:
# _test unit, _prop prop, _model_prop model, _static static, _white_test unit. SIM: the programs link kvbm_sim in place
# of kvbm, and are left out where that is not built.
function(kvbm_add_tests)
  cmake_parse_arguments(PARSE_ARGV 0 ARG "SIM" "" "SOURCES;LIBRARIES;LABELS;DEFINITIONS")
  _kvbm_no_more_arguments()
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME directory)
  set(core kvbm::kvbm)
  set(built ${ARG_SOURCES})
  if(ARG_SIM)
    set(core kvbm_sim)
    if(NOT KVBM_BUILD_SIM)
      set(built)
    endif()
  endif()
  foreach(source IN LISTS built)
    cmake_path(GET source STEM stem)
    set(target kvbm_${directory}_${stem})
    if(ARG_LABELS)
      set(label ${ARG_LABELS})
    elseif(stem MATCHES "_model_prop$")
      set(label model)
    elseif(stem MATCHES "_prop$")
      set(label prop)
    elseif(stem MATCHES "_static$")
      set(label static)
    elseif(stem MATCHES "_test$")
      set(label unit)
    else()
      message(FATAL_ERROR "${source}: a test file ends in _test, _prop, _model_prop or _static")
    endif()
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE ${core} ${ARG_LIBRARIES} rapidcheck rapidcheck_gtest
      GTest::gtest_main)
    target_compile_definitions(${target} PRIVATE KVBM_SOURCE_DIR="${PROJECT_SOURCE_DIR}" ${ARG_DEFINITIONS})
    # Values of parameters have no place in a name: some print as bytes, which differ from run to run.
    gtest_discover_tests(${target} TEST_PREFIX ${directory}. DISCOVERY_MODE PRE_TEST NO_PRETTY_VALUES
      PROPERTIES LABELS ${label} TIMEOUT 600)
  endforeach()
  file(GLOB on_disk RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS *_test.cpp *_prop.cpp *_static.cpp)
  get_property(registered DIRECTORY PROPERTY kvbm_registered_tests)
  list(APPEND registered ${ARG_SOURCES})
  set_property(DIRECTORY PROPERTY kvbm_registered_tests ${registered})
  list(REMOVE_ITEM on_disk ${registered})
  set_property(DIRECTORY PROPERTY kvbm_unregistered_tests ${on_disk})
  cmake_language(DEFER CALL _kvbm_check_registered)
endfunction()

# A test on disk that nobody builds fails the configure step.
function(_kvbm_check_registered)
  get_property(left_out DIRECTORY PROPERTY kvbm_unregistered_tests)
  if(left_out)
    message(FATAL_ERROR "${CMAKE_CURRENT_SOURCE_DIR}: not registered with kvbm_add_tests: ${left_out}")
  endif()
endfunction()

# kvbm_compile_fail(name pattern): tests/compile_fail/<name>.cpp compiles as it stands, and with -DBREAK_IT it is
# refused with a diagnostic that matches the pattern.
function(kvbm_compile_fail name pattern)
  add_library(cf_${name}_good OBJECT ${name}.cpp)
  add_library(cf_${name}_bad OBJECT EXCLUDE_FROM_ALL ${name}.cpp)
  target_compile_definitions(cf_${name}_bad PRIVATE BREAK_IT)
  target_link_libraries(cf_${name}_good PRIVATE kvbm::kvbm)
  target_link_libraries(cf_${name}_bad PRIVATE kvbm::kvbm)
  add_test(NAME compile_fail.${name}
    COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR} --target cf_${name}_bad)
  set_tests_properties(compile_fail.${name} PROPERTIES
    RESOURCE_LOCK ninja LABELS compile_fail PASS_REGULAR_EXPRESSION "${pattern}")
endfunction()

# kvbm_add_fuzzer(name): fuzz/<name>.cpp with its corpus fuzz/corpus/<name>. With KVBM_LIBFUZZER it is searched by
# libFuzzer; otherwise the same body replays the committed corpus as a test. SEEDS: more directories to replay.
function(kvbm_add_fuzzer name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "LIBRARIES;SEEDS")
  _kvbm_no_more_arguments()
  set(inputs ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name} ${ARG_SEEDS})
  add_executable(${name} ${name}.cpp)
  target_link_libraries(${name} PRIVATE kvbm::kvbm kvbm::testing ${ARG_LIBRARIES})
  if(KVBM_LIBFUZZER)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME replay.${name}
      COMMAND ${name} -runs=0 ${inputs})
  else()
    target_sources(${name} PRIVATE replay_main.cpp)
    add_test(NAME replay.${name} COMMAND ${name} ${inputs})
  endif()
  set_tests_properties(replay.${name} PROPERTIES LABELS replay)
  set_property(DIRECTORY APPEND PROPERTY kvbm_registered_fuzzers ${name}.cpp)
endfunction()

# kvbm_add_canary(name input): a fuzzer with a bug of its own. `input` must be reported, whoever runs it; libFuzzer must
# also find one itself.
function(kvbm_add_canary name input)
  kvbm_add_fuzzer(${name})
  set(find_canary ${CMAKE_CURRENT_SOURCE_DIR}/find_canary $<TARGET_FILE:${name}>)
  add_test(NAME canary.is_reported COMMAND ${find_canary} ${CMAKE_CURRENT_SOURCE_DIR}/${input})
  set_tests_properties(canary.is_reported PROPERTIES LABELS replay)
  if(KVBM_LIBFUZZER)
    add_test(NAME canary.is_found COMMAND ${find_canary})
    set_tests_properties(canary.is_found PROPERTIES LABELS replay RUN_SERIAL ON)
  endif()
endfunction()

# What is on disk and in no list fails the configure step. Called by the root, when both directories are done.
function(kvbm_check_all_registered)
  if(KVBM_BUILD_FUZZERS)
    file(GLOB harnesses RELATIVE ${PROJECT_SOURCE_DIR}/fuzz CONFIGURE_DEPENDS fuzz/*_fuzz.cpp)
    get_property(registered DIRECTORY fuzz PROPERTY kvbm_registered_fuzzers)
    list(REMOVE_ITEM harnesses ${registered})
    if(harnesses)
      message(FATAL_ERROR "fuzz/CMakeLists.txt: not registered with kvbm_add_fuzzer: ${harnesses}")
    endif()
  endif()
  if(KVBM_BUILD_TESTS)
    file(GLOB directories CONFIGURE_DEPENDS tests/*/CMakeLists.txt)
    list(TRANSFORM directories REPLACE "/CMakeLists.txt$" "")
    get_property(added DIRECTORY tests PROPERTY SUBDIRECTORIES)
    list(REMOVE_ITEM directories ${added})
    if(directories)
      message(FATAL_ERROR "tests/CMakeLists.txt: not added: ${directories}")
    endif()
  endif()
endfunction()
