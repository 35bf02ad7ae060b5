//! A `#[kunit_tests]` suite runs as host tests.

/// Compared by `assert_eq!` below although it cannot be printed.
#[derive(PartialEq)]
struct Silent(u8);

#[macros::kunit_tests(doorman)]
mod tests {
    use super::Silent;

    fn three() -> u8 {
        3
    }

    #[test]
    fn operands_need_no_debug() {
        assert_eq!(Silent(3), Silent(three()));
    }

    #[test]
    fn test_may_return_a_result() -> Result<(), i32> {
        assert!(three() == 3,);
        Ok(())
    }

    #[test]
    #[should_panic(expected = "Silent(3) == Silent(4)")]
    fn failed_comparison_fails_the_test() {
        assert_eq!(Silent(3), Silent(4));
    }

    #[test]
    #[cfg(any())]
    fn test_that_is_configured_out_is_not_compiled() {
        no_such_function();
    }
}
