# Refuses, in one sentence each, the tools that cannot build C++20 modules here. Tested by tests/toolchain.
if(CMAKE_VERSION VERSION_LESS 3.28)
  message(FATAL_ERROR "kvbm needs CMake 3.28 or newer, found ${CMAKE_VERSION}: install a newer one "
    "(Debian 12: apt-get install -t bookworm-backports cmake).")
endif()
if(NOT CMAKE_GENERATOR MATCHES "Ninja")
  message(FATAL_ERROR "kvbm needs the Ninja generator, found \"${CMAKE_GENERATOR}\": "
    "configure with `cmake -G Ninja` (Debian: apt-get install ninja-build).")
endif()

# Called after project(), when the compiler is known.
function(kvbm_check_compiler)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 18)
    message(FATAL_ERROR "kvbm needs clang 18 or newer, found ${CMAKE_CXX_COMPILER_ID} "
      "${CMAKE_CXX_COMPILER_VERSION}: configure with -DCMAKE_CXX_COMPILER=clang++-19 "
      "(Debian: apt-get install clang-19 clang-tools-19).")
  endif()
  if(NOT CMAKE_CXX_COMPILER_CLANG_SCAN_DEPS)
    message(FATAL_ERROR "kvbm needs clang-scan-deps of the same version as ${CMAKE_CXX_COMPILER}, found none: "
      "install it (Debian: apt-get install clang-tools-19).")
  endif()
endfunction()
