# find_package(kvbm [COMPONENTS replay testing]): kvbm::kvbm, and kvbm::replay, kvbm::testing if asked for. The header
# <kvbm/testing/rapidcheck.hpp> of kvbm::testing needs RapidCheck, which the project that includes it finds and links.
#
# The module sources are compiled by the project that asks, so they follow its dialect: set CMAKE_CXX_STANDARD and
# CMAKE_CXX_EXTENSIONS before find_package, and scan its own sources for imports (CMake 3.28 policies, Ninja).

include(CMakeFindDependencyMacro)
find_dependency(tl-expected)
find_dependency(Threads)
find_dependency(PkgConfig)
pkg_check_modules(XXHASH QUIET IMPORTED_TARGET libxxhash)
if(NOT XXHASH_FOUND)
  set(kvbm_FOUND FALSE)
  set(kvbm_NOT_FOUND_MESSAGE "kvbm needs xxHash, found none (Debian: apt-get install libxxhash-dev).")
  return()
endif()

# A module is compiled with the dialect of its own target, and an importer of another dialect is refused by the
# compiler: give each target the dialect of the project that asks.
function(_kvbm_follow_dialect target)
  if(DEFINED CMAKE_CXX_EXTENSIONS)
    set_target_properties(${target} PROPERTIES CXX_EXTENSIONS "${CMAKE_CXX_EXTENSIONS}")
  else()
    set_target_properties(${target} PROPERTIES CXX_EXTENSIONS "${CMAKE_CXX_EXTENSIONS_DEFAULT}")
  endif()
  if(DEFINED CMAKE_CXX_STANDARD)
    set_target_properties(${target} PROPERTIES CXX_STANDARD "${CMAKE_CXX_STANDARD}")
  endif()
endfunction()

include(${CMAKE_CURRENT_LIST_DIR}/kvbm-kvbm.cmake)
_kvbm_follow_dialect(kvbm::kvbm)

foreach(_kvbm_component IN LISTS kvbm_FIND_COMPONENTS)
  if(_kvbm_component STREQUAL "kvbm")
    set(kvbm_kvbm_FOUND TRUE)
  elseif(EXISTS ${CMAKE_CURRENT_LIST_DIR}/kvbm-${_kvbm_component}.cmake)
    if(_kvbm_component STREQUAL "replay")
      find_dependency(OpenSSL COMPONENTS Crypto)
      find_dependency(simdjson)
      find_dependency(fmt)
    endif()
    include(${CMAKE_CURRENT_LIST_DIR}/kvbm-${_kvbm_component}.cmake)
    _kvbm_follow_dialect(kvbm::${_kvbm_component})
    set(kvbm_${_kvbm_component}_FOUND TRUE)
  elseif(kvbm_FIND_REQUIRED_${_kvbm_component})
    set(kvbm_FOUND FALSE)
    set(kvbm_NOT_FOUND_MESSAGE "this installation of kvbm has no component ${_kvbm_component}.")
  endif()
endforeach()
