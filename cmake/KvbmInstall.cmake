# Installs the library as the package `kvbm`: module sources, headers, archives and one export set per component. What
# links kvbm compiles the module sources itself, so no compiled module is installed; bodies and internal partitions stay
# home.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(kvbm_package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/kvbm)

# kvbm_install(target component): target as kvbm::component.
function(kvbm_install target component)
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${component})
  install(TARGETS ${target} EXPORT kvbm-${component}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET CXX_MODULES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvbm/modules
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT kvbm-${component} NAMESPACE kvbm:: FILE kvbm-${component}.cmake
    DESTINATION ${kvbm_package_directory} CXX_MODULES_DIRECTORY modules-${component})
endfunction()

kvbm_install(kvbm kvbm)
if(TARGET kvbm_replay)
  kvbm_install(kvbm_replay replay)
endif()
if(TARGET kvbm_testing)
  kvbm_install(kvbm_testing testing)
endif()

if(TARGET kvbm_tool)
  install(TARGETS kvbm_tool)
endif()

write_basic_package_version_file(kvbmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/kvbmConfig.cmake ${PROJECT_BINARY_DIR}/kvbmConfigVersion.cmake
  DESTINATION ${kvbm_package_directory})
