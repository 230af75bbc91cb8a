# Refuses, in one sentence each, the tools that cannot build C++20 modules here.
if(NOT CMAKE_GENERATOR MATCHES "Ninja")
  message(FATAL_ERROR "kvbm needs the Ninja generator, found \"${CMAKE_GENERATOR}\": "
    "configure with `cmake -G Ninja` (Debian: apt-get install ninja-build).")
endif()

function(kvbm_check_compiler)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 18)
    message(FATAL_ERROR "kvbm needs clang 18 or newer, found ${CMAKE_CXX_COMPILER_ID} "
      "${CMAKE_CXX_COMPILER_VERSION}: configure with -DCMAKE_CXX_COMPILER=clang++-19 "
      "(Debian: apt-get install clang-19 clang-tools-19).")
  endif()
  if(NOT CMAKE_CXX_COMPILER_CLANG_SCAN_DEPS)
    message(FATAL_ERROR "kvbm needs clang-scan-deps of the same version as ${CMAKE_CXX_COMPILER}: "
      "install it (Debian: apt-get install clang-tools-19).")
  endif()
endfunction()
