"""What a measuring stage measures: an artifact beside float, layers, and widths of layers."""
